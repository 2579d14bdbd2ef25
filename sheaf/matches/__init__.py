"""Shooting matches: sensor and timer logs to events, runs, correlation, exports, archives and offload.

Read in the order data flows: `manifest`, `sources`, `lines`, `records`, `text_logs`, `database`
(what comes in), `ingest`, `merge` (canonical events), `runs`, `correlate`, `analysis` (what it means),
`series` and its writers (what goes out), `offload` (what becomes of old logs).
"""
