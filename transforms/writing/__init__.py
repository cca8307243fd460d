"""Writes rows, shards and subtitles, to files that appear as a whole or not at all."""
