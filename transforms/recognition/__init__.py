"""Batches of windows through the model: temperature fallback, further passes, filters."""
