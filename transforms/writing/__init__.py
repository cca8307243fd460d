"""Rows, shards and subtitles; files that appear as a whole or not at all."""
