"""Readers of the formats in which Whisper's weights are kept. None runs anything that a file holds."""
