"""The signal processing: where in a master the sound of a dub is."""
