"""The output folder of a run: whose it is, its lock, its files."""
