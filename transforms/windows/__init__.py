"""Blocks of samples to windows of at most 30 s: VAD, packing, fixed stride, splices."""
