"""Cuts blocks of samples into windows of at most 30 s: VAD, packing, fixed stride, splices."""
