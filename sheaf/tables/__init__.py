"""Typed, validated records as Parquet, and how what belongs together is kept together.

`table` is what a kind of record is, `rejects` what was not used and why, `generations` what one run of
a step wrote, `pinned` what a step or an export reads, `work` where a step writes. The protocol in prose
is `docs/publishing.md`.
"""
