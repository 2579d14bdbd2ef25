"""The command line `sheaf`, a module for each group of commands."""
