"""Names and texts in queries: whatever they hold, they stay one name or one text."""

import sqlite3

import pytest

from sheaf import duck, sql

ODD = ["plain", 'a"b', "a'b", '"; DROP TABLE x; --', "'); --", "ä \\ %s {} $1", "two\nlines"]


@pytest.mark.parametrize("text", ODD)
def test_names_and_texts_come_back_from_every_database(text: str) -> None:
    query = f"SELECT {sql.literal(text)} AS {sql.name(text)}, {sql.literal(None)} AS empty"
    for database in (duck.connect(), sqlite3.connect(":memory:")):
        found = database.execute(query)
        assert (found.description or ())[0][0] == text
        assert found.fetchone() == (text, None)
