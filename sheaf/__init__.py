"""What Sheaf knows: records, tables, analysis and the publishing of exports.

Pure Python, readable and testable on its own. Nothing here imports Dagster.
"""

__version__ = "0.1.0"
