"""The doors to what others wrote: files they left, services they run."""
