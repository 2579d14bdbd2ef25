"""The laboratory's ELN by its PostgreSQL database, in one read-only snapshot.

A read-only role with SELECT on the tables below is enough. Rows come as JSON made by the server,
so that decimals keep their digits and a column that is renamed or added does not stop anything.
Users and passwords of the ELN are never asked for.
"""

import json
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

from sheaf.errors import NotFoundError, SourceError
from sheaf.fermentation.source_settings import PostgresSettings
from sheaf.fermentation.sources.eln import Fingerprint, Record, Run, run_from
from sheaf.outside.addresses import secret
from sheaf.outside.postgres import snapshot

if TYPE_CHECKING:
    from psycopg2.extensions import connection

_DATABASE = "laboratory database"

# Table, its section of `batch.json`, whether a batch has many, and the order of its rows.
_CHILDREN: tuple[tuple[str, str, bool, str], ...] = (
    ("calibrations", "calibrations", True, "id"),
    ("inoculations", "inoculation", False, "id"),
    ("samples", "samples", True, "timepoint_hours NULLS LAST, sampled_at, id"),
    ("failures", "failures", True, "id"),
    ("batch_closures", "closure", False, "id"),
    ("media_preparations", "media_preparation", False, "id"),
    ("process_changes", "process_changes", True, "id"),
)


_RUN = (
    "jsonb_build_object('vessel_id', vessel_id, 'inoculated_at', inoculated_at, 'completed_at', completed_at, "
    "'batch_number', batch_number, 'phase', phase)"
)


class ElnPostgres:
    """The ELN's database."""

    name = "eln_postgres"

    def __init__(self, settings: PostgresSettings, naive_timezone: str | None = None) -> None:
        self._variable, self._naive_timezone = settings.dsn_env, naive_timezone

    def runs(self) -> list[Run]:
        """All batches, by id."""
        with snapshot(self._dsn(), _DATABASE) as database:
            # As texts: a database holds years that no other program can.
            rows = _query(database, f"SELECT batch_id::text, ({_RUN})::text FROM batches ORDER BY 1")
        return [run_from(batch, json.loads(row), self._naive_timezone) for batch, row in rows]

    def fingerprints(self, batches: Sequence[str]) -> Generator[Fingerprint, None, None]:
        """Hash every batch with all its rows on the server: no row has a time of change."""
        with snapshot(self._dsn(), _DATABASE) as database:
            present = _present(database)
            parts = ["to_jsonb(b)::text", *(f"coalesce({table}.hash, '')" for table in present)]
            joins = [
                f"LEFT JOIN (SELECT batch_id, md5(string_agg(to_jsonb(t)::text, ',' ORDER BY t.id)) AS hash "
                f"FROM {table} t GROUP BY batch_id) {table} USING (batch_id)"
                for table in present
            ]
            query = f"SELECT batch_id::text, md5({' || '.join(parts)}) FROM batches b {' '.join(joins)}"
            found = dict(_query(database, query))
        for batch in batches:
            if batch in found:
                yield Fingerprint(batch, found[batch])
            else:
                yield Fingerprint(batch, problem=f"The {_DATABASE} has no batch {batch} any more.")

    def record(self, batch: str) -> Record:
        """Read one batch with everything below it."""
        with snapshot(self._dsn(), _DATABASE) as database:
            rows = _query(database, "SELECT to_jsonb(b)::text FROM batches b WHERE batch_id::text = %s", [batch])
            if not rows:
                raise NotFoundError(f"The {_DATABASE} has no batch {batch}.")
            sections = [f'"batch": {rows[0][0]}']
            present = _present(database)
            for table, section, many, order in _CHILDREN:
                if table not in present:
                    continue
                # A batch has one inoculation, closure and medium at most: their keys say nothing.
                row = "to_jsonb(t)" if many else "to_jsonb(t) - 'id'"
                query = f"SELECT ({row})::text FROM {table} t WHERE batch_id::text = %s ORDER BY {order}"
                texts = [text for (text,) in _query(database, query, [batch])]
                value = f"[{', '.join(texts)}]" if many else (texts[-1] if texts else "null")
                sections.append(f'"{section}": {value}')
        missing = [table for table, *_ in _CHILDREN if table not in present]
        told = f"The {_DATABASE} has no readable table {', '.join(missing)}: what it would say is not known."
        warnings = (told,) if missing else ()
        return Record(("{" + ",\n ".join(sections) + "}\n").encode(), warnings)

    def check(self) -> str:
        """Count the batches; say which tables the role cannot read."""
        with snapshot(self._dsn(), _DATABASE) as database:
            present = _present(database)
            missing = [table for table, *_ in _CHILDREN if table not in present]
            if missing:
                raise SourceError(
                    f"The {_DATABASE} has no table {', '.join(missing)} that the role may read: grant it SELECT."
                )
            ((count,),) = _query(database, "SELECT count(*) FROM batches")
        if problems := [run.problem for run in self.runs() if run.problem]:
            raise SourceError(" ".join(problems[:5]))
        return f"{count} batches in the {_DATABASE}"

    def _dsn(self) -> str:
        what = f"address of the {_DATABASE}, such as postgresql://reader:…@host:5432/pichia_manual_data"
        return secret(self._variable, what)


def _present(database: "connection") -> list[str]:
    """The child tables that are there and may be read."""
    names = [table for table, *_ in _CHILDREN]
    rows = _query(
        database,
        "SELECT name FROM unnest(%s) AS name "
        "WHERE to_regclass(name) IS NOT NULL AND has_table_privilege(to_regclass(name), 'SELECT')",
        [names],
    )
    found = {name for (name,) in rows}
    return [name for name in names if name in found]


def _query(database: "connection", query: str, values: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
    with database.cursor() as cursor:
        cursor.execute(query, values)
        return cursor.fetchall()
