"""The catalogue: one document that tells everything, kept by whoever publishes, and never in their way."""

from concurrent.futures import ThreadPoolExecutor

import orjson
import pytest
from demo_domain import BATCH, ingest, publish_readings

from sheaf.exports import catalogue, outcome
from sheaf.exports.records import Status
from sheaf.names import ExportId
from sheaf.store.store import Store


def published(store: Store, *rows: str, **asked: object) -> ExportId:
    """A new version, noted."""
    ingest(store, *rows)
    export = publish_readings(store, **asked).export
    catalogue.note(store, export)
    return export


def test_what_is_published_deleted_and_made_anew_is_told_alike(atomic_store: Store) -> None:
    published(atomic_store, "a")
    published(atomic_store, "a", "b", filter={"min_id": 2}, name="Late", requested_by="ada")
    newest = published(atomic_store, "a", "b", "c")
    found = catalogue.read(atomic_store).exports
    assert [one.export for one in found] == [f"{BATCH}/v{number}" for number in (3, 2, 1)]
    assert [one.latest for one in found] == [True, False, False]
    late = found[1]
    assert (late.name, late.requested_by, late.filter, late.records) == ("Late", "ada", ["min_id=2"], 1)
    assert {path for path, *_ in late.files} == {"readings.csv", "notes/about us.txt"}
    outcome.delete(atomic_store, newest, "ada")
    catalogue.note(atomic_store, newest)
    found = catalogue.read(atomic_store).exports
    assert [(one.status, one.latest) for one in found] == [
        (Status.DELETED, False),
        (Status.COMPLETED, False),
        (Status.COMPLETED, True),
    ]
    assert catalogue.build(atomic_store).exports == found
    script = atomic_store.get("catalog.js")
    assert orjson.loads(script.removeprefix(b"window.CATALOG = ").removesuffix(b";\n")) == orjson.loads(
        atomic_store.get("catalog.json")
    )
    assert atomic_store.get("catalog.html").startswith(b"<!doctype html>")


@pytest.mark.parametrize("damage", [b"", b"{", b'{"exports": 1}', b"null"])
def test_a_damaged_catalogue_is_made_anew(local_store: Store, damage: bytes) -> None:
    published(local_store, "a")
    local_store.put("catalog.json", damage)
    published(local_store, "a", "b")
    assert [one.export for one in catalogue.read(local_store).exports] == [f"{BATCH}/v2", f"{BATCH}/v1"]


def test_what_a_kill_kept_out_of_it_comes_in_with_the_doctor(local_store: Store) -> None:
    published(local_store, "a")
    before = local_store.get("catalog.json")
    published(local_store, "a", "b")
    local_store.put("catalog.json", before)
    assert catalogue.complete(local_store) == 1
    assert [one.export for one in catalogue.read(local_store).exports] == [f"{BATCH}/v2", f"{BATCH}/v1"]
    assert catalogue.complete(local_store) == 0


def test_one_after_the_other_they_wait_until_noting_is_a_small_part_of_the_time(local_store: Store) -> None:
    ticking = iter(range(1000))  # each look at the clock takes a second, so does noting

    def there() -> int:
        return len(catalogue.read(local_store).exports)

    seen = []
    with catalogue.noting(local_store, lambda: next(ticking)) as note:
        for number in range(30):
            ingest(local_store, str(number))
            note(publish_readings(local_store).export)
            seen.append(there())
    assert seen[0] == 1, "what is alone is told at once"
    assert 1 < len(set(seen)) <= 3
    assert there() == 30
    assert catalogue.build(local_store).exports == catalogue.read(local_store).exports


def test_many_who_note_at_once_lose_nothing(local_store: Store) -> None:
    exports = []
    for number in range(6):
        ingest(local_store, *"abcdef"[: number + 1])
        exports.append(publish_readings(local_store).export)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda export: catalogue.note(local_store, export), exports))
    assert {one.export for one in catalogue.read(local_store).exports} == {str(export) for export in exports}


def test_text_of_others_cannot_leave_the_script(local_store: Store) -> None:
    published(local_store, "a", name="</script><script>alert(1)</script>")
    assert b"</script" not in local_store.get("catalog.js")
