"""What exists: one module per domain, thin wiring in the order data flows."""
