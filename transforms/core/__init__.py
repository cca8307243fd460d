"""Records, errors, metrics, ids: used by every other package of `transforms`."""
