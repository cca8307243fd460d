"""The programs: read options, build the graph, run it."""
