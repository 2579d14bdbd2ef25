"""Live systems and the inbox: which partitions there are, and fetching their raw input."""
