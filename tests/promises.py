"""What `docs/publishing.md` promises, as checks that any test of the protocol can make."""

from sheaf.exports.latest import newest_canonical
from sheaf.exports.records import NOTHING, Status, read_latest, read_manifest, records
from sheaf.exports.recover import recover
from sheaf.exports.verify import verify
from sheaf.names import ExportId, SeriesId
from sheaf.store.store import Store


def check_readers(store: Store, series: SeriesId) -> int:
    """At any moment `latest` names a complete export that verifies; returns its version, 0 for none."""
    latest = read_latest(store, series)
    if latest is None:
        return 0
    manifest = verify(store, ExportId(series, latest.version))
    assert manifest.export == latest.export == f"{series}/v{latest.version}"
    assert manifest.canonical
    return latest.version


def check_recovered(store: Store, series: SeriesId) -> None:
    """After `recover`: nothing open, `latest` on the newest, no object that no manifest names, nothing staged."""
    recover(store)
    check_settled(store, series)


def check_settled(store: Store, series: SeriesId) -> None:
    """What holds of a series after somebody has recovered the store."""
    known = records(store, series)
    assert {record.status for record in known} <= {Status.COMPLETED, Status.FAILED, Status.DELETED}
    newest = newest_canonical(store, series)
    assert check_readers(store, series) == (newest.version if newest else 0)
    expected = {series.latest_path} if newest or store.size(series.latest_path) is not None else set()
    for record in known:
        expected |= {record.id.record_path, record.id.manifest_path}
        if record.status is Status.COMPLETED:
            verify(store, record.id)
            expected |= {f"{record.id.path}/{file.path}" for file in read_manifest(store, record.id).files}
        else:
            assert store.get(record.id.manifest_path) == NOTHING
    assert {item.path for item in store.list(series.path)} == expected
    if store.root is not None:
        assert [path.name for path in store.scratch.glob("*") if path.name != "lock"] == []
        assert [path for path in store.root.rglob("*#*") if path.is_file()] == []
