"""Expands the inputs of a run into work items, and opens these as `AudioSource`s."""
