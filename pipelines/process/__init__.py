"""Settings of the current process: memory and signals."""
