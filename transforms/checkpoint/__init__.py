"""Spans, their commit log, and resumption from it."""
