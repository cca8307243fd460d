"""The hops of the pipeline: a pure function each, and a thin Beam transform that calls it."""
