"""Beam's runners: which there are, and what each needs."""
