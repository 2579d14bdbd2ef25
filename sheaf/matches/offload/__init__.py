"""Old logs into an archive, and away from where they were."""
