"""Evaluation of a finished run against reference transcripts."""
