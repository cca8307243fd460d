"""A work item to its windows, span by span."""
