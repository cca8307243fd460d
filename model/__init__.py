"""Whisper on Flax/JAX. Knows nothing of Beam, of files of audio, or of recordings."""
