"""Reads the windows of a work unit, span by span."""
