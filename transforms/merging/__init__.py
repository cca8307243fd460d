"""Merges the windows of a recording into one transcript: language vote, second pass, boundaries, merge."""
