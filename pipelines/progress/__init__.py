"""How far a run is: the progress bar and `progress.json`."""
