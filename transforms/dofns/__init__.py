"""Beam's side of the transforms: every PTransform and DoFn, and nothing else of weight."""
