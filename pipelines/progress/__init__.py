"""Progress of a run: the progress bar and `progress.json`."""
