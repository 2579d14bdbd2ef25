"""What exists: every step and series of every domain as an asset, all made the same way from its declaration."""
