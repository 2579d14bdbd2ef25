"""Shooting matches: sensor and timer logs to events, runs, correlation, exports, archives and offload.

Start with `domain`, then in the order data flows: `manifest`, `inbox`, `sources`, `lines`, `records`,
`text_logs`, `database` (what comes in), `ingest`, `merge` (canonical events), `runs`, `correlate`,
`analysis`, `checks` (what it means), the writers (what goes out), `offload` (what becomes of old logs).
"""
