"""Spans, their commit log, and what was committed before."""
