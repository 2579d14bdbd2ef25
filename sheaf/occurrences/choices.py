"""What people ask of a project before they export it: its facts, and the values that filters can name.

Not here: the models of filters and options (`writers/request`), nor how they are listed (`sheaf/choices.py`).
"""

from collections import Counter
from typing import Any

from sheaf.licences import address
from sheaf.occurrences import schema
from sheaf.tables.pinned import Tables

TABLES = (schema.DATASET, schema.OCCURRENCES_TABLE, schema.EVENTS, schema.DEPLOYMENTS, schema.TAXA, schema.COLLECTIONS)


def facts(tables: Tables) -> dict[str, Any]:
    """The project's id and name, its licence, and how much was seen where."""
    dataset = tables.row(schema.DATASET, ["project_id", "name", "draft", "licence"])
    counts = {
        table.name: tables.rows(table)
        for table in (schema.OCCURRENCES_TABLE, schema.EVENTS, schema.DEPLOYMENTS, schema.COLLECTIONS)
    }
    return {"id": str(dataset.pop("project_id")), **dataset, **counts}


def values(tables: Tables) -> dict[str, dict[str, str]]:
    """Capture sets, stations, and the taxa that were seen, by id."""
    seen = Counter(tables.read(schema.OCCURRENCES_TABLE, ["determination_id"])["determination_id"].to_pylist())
    taxa = tables.read(schema.TAXA, ["id", "name"]).to_pylist()
    return {
        "collection_id": _named(tables, schema.COLLECTIONS),
        "deployment_id": _named(tables, schema.DEPLOYMENTS),
        "taxon_id": {
            str(taxon["id"]): f"{taxon['name']} ({seen[taxon['id']]} occurrences)"
            for taxon in sorted(taxa, key=lambda taxon: (-seen[taxon["id"]], taxon["name"]))
            if seen[taxon["id"]]
        },
    }


def _named(tables: Tables, table: Any) -> dict[str, str]:
    return {str(row["id"]): row["name"] for row in tables.read(table, ["id", "name"]).to_pylist()}


def licence(tables: Tables) -> str:
    """The licence of the project: its address where it is one of GBIF's, else what the project says."""
    return address(tables.row(schema.DATASET, ["licence"])["licence"])
