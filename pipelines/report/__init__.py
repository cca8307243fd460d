"""Reports of a finished run: `run.json`, `report.html`, the dataset card and its upload."""
