"""Tables to tables, and the plots that show them."""
