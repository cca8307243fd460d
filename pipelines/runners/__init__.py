"""Beam runners and their requirements."""
