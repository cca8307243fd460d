"""What a run came to: `run.json`, `report.html`, the dataset card and its upload."""
