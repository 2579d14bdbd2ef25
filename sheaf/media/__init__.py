"""Media pairs: how far a dub is from its master, measured on the sound."""
