"""Decodes audio files to 30 s blocks of mono float32 at 16 kHz, and records their damage."""
