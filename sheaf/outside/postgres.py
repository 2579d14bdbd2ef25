"""Reading a foreign PostgreSQL database: one snapshot, never a write.

Here: the connection and its errors. Not here: what is asked (`<domain>/…postgres.py`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sheaf.errors import SourceError
from sheaf.outside.addresses import hidden

if TYPE_CHECKING:
    from psycopg2.extensions import connection

_SHOWN = ("host", "hostaddr", "port", "dbname", "user")
"""What of a connection string says where something is."""


@contextmanager
def snapshot(dsn: str, what: str, time_zone: str = "UTC") -> Iterator["connection"]:
    """A read-only transaction that sees one moment of the database, whatever others write meanwhile.

    Args:
        dsn: libpq connection string or URL.
        what: how to call the database in messages, such as "laboratory database".
        time_zone: zone in which the server prints times.

    Raises:
        SourceError: it cannot be reached, refuses the login, or a query fails; never shows the password.
    """
    import psycopg2

    try:
        database = psycopg2.connect(dsn, connect_timeout=10, application_name="sheaf")
    except psycopg2.Error as error:
        raise SourceError(f"The {what} cannot be reached: {_first_line(error, dsn)}") from None
    try:
        database.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with database.cursor() as cursor:
            cursor.execute("SET LOCAL TIME ZONE %s", (time_zone,))
        yield database
    except psycopg2.Error as error:
        raise SourceError(f"The {what} cannot be read: {_first_line(error, dsn)}") from None
    finally:
        database.close()


def _first_line(error: Exception, dsn: str) -> str:
    """What went wrong, without secrets: libpq repeats parts of a connection string that it cannot read."""
    from psycopg2 import ProgrammingError
    from psycopg2.extensions import parse_dsn

    try:
        values = parse_dsn(dsn)
    except (ProgrammingError, UnicodeError):
        return "its connection string cannot be read: write postgresql://user:password@host/database."
    secrets = [
        value for name, value in values.items() if name == "password" or (name not in _SHOWN and not value.isdigit())
    ]
    return hidden((str(error).strip() or type(error).__name__).splitlines()[0], *secrets)
