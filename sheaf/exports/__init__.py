"""The export protocol: versions, records, manifests, verification, history.

`docs/publishing.md` is the protocol in prose; the modules here are a mirror of it, and nothing
else writes below `exports/` in the store.
"""
