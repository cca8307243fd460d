"""Error rates of a finished run against references."""
