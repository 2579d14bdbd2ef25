"""The object store: objects and documents in it, working space beside it, leases on it, and what is set aside."""
