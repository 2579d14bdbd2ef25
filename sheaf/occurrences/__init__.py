"""Camera-trap and light-trap occurrences: from the tables of an Antenna project to CSV, JSON and Darwin Core."""
