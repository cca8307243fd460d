"""The output folder of a run: identity, lock and files."""
