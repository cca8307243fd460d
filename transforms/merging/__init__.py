"""The windows of a recording to one transcript: language vote, second pass, boundaries, merge."""
