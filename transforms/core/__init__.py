"""Records, errors, metrics, ids: what every other room may use."""
