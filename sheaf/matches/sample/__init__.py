"""The generated example."""
