"""Raw input to typed rows and rejects."""
