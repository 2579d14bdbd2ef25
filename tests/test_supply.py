"""What Sheaf is built of: the licences of all locked packages, and an audit that needs no network."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CI = Path(__file__).parents[1] / ".ci"


def run(script: str, *args: str, **environment: str) -> tuple[int, str, str]:
    command = [sys.executable, str(CI / script), *args]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    return done.returncode, done.stdout, done.stderr


def test_every_locked_package_has_a_licence_that_is_allowed() -> None:
    code, out, err = run("licences.py")
    assert (code, err) == (0, "")
    assert {line.split()[0] for line in out.splitlines()} >= {"dagster", "duckdb", "pyarrow", "psycopg2-binary"}


def test_a_package_whose_licence_is_not_known_fails_the_check(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.write_text("click==8.0\nno-such-package==1.0\n")
    code, out, err = run("licences.py", str(lock))
    assert code == 1
    assert "NOT ALLOWED" in out
    assert "no-such-package" in err


def test_an_audit_without_a_database_says_so() -> None:
    code, out, _ = run("audit.py")
    assert code == 0
    assert out.startswith("NOT AUDITED: no database of vulnerabilities.")


@pytest.mark.parametrize(
    ("affected", "found"),
    [
        ({"ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.0"}]}]}, True),
        ({"ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.5"}]}]}, False),
        ({"ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "1.6"}]}]}, False),
        ({"ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "1"}, {"last_affected": "1.5"}]}]}, True),
        (
            {
                "ranges": [
                    {
                        "type": "ECOSYSTEM",
                        "events": [{"introduced": "0"}, {"fixed": "1.0"}, {"introduced": "1.4"}, {"fixed": "1.6"}],
                    }
                ]
            },
            True,
        ),
        ({"ranges": [{"type": "GIT", "events": [{"introduced": "0"}]}]}, False),
        ({"versions": ["1.4", "1.5"]}, True),
    ],
)
def test_a_known_vulnerability_is_found_by_version(tmp_path: Path, affected: dict[str, object], found: bool) -> None:
    lock, database = tmp_path / "lock", tmp_path / "all.zip"
    lock.write_text("Some_Package==1.5 \\\n    --hash=sha256:00\n")
    entry = {"id": "PYSEC-1", "affected": [{"package": {"name": "some-package", "ecosystem": "PyPI"}, **affected}]}
    withdrawn = {**entry, "id": "PYSEC-2", "withdrawn": "2026-01-01"}
    with zipfile.ZipFile(database, "w") as archive:
        for one in (entry, withdrawn):
            archive.writestr(f"{one['id']}.json", json.dumps(one))
    code, out, _ = run("audit.py", str(lock), SHEAF_OSV=str(database))
    assert (code == 1, "PYSEC-1" in out, "PYSEC-2" in out) == (found, found, False)
