"""Tables to files: one module for each series, named after it."""
