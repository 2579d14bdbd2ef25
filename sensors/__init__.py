"""What wakes Sheaf: arrivals in the inbox, changed sources, requests."""
