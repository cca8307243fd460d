"""The bytes of a URI as a seekable local file: limits, retries, guarded addresses, spooling."""
