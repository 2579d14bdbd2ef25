"""The HTTP API: the functions of the command line for scripts, and the paths that the specifications print.

Here: requests and answers. It keeps nothing itself: what it tells is read from the store, what it starts are runs
in processes of their own, which go on when it ends. Not here: what an export is (`sheaf/exports/`), nor how a run
is run (`pipelines/runs.py`).
"""
