"""ZIP archives as all domains write them: the same each time, in pieces, and read back."""

import io
import zipfile
from pathlib import Path

import pytest

from sheaf.errors import VerificationError
from sheaf.exports.zips import EARLIEST, Zip, confirm, opened


def _write(path: Path) -> dict[str, tuple[int, str]]:
    with Zip(path) as archive:
        with archive.member("a.csv") as member, io.TextIOWrapper(member, "utf-8", newline="") as text:
            text.write("day,catch\n" * 1000)
        archive.add("b.parquet", io.BytesIO(b"PAR1 and more"), 4)
        archive.add_document("about.json", b"{}")
    return archive.members


def test_equal_members_give_equal_bytes_whatever_the_clock_says(tmp_path: Path) -> None:
    members = _write(tmp_path / "one.zip")
    _write(tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with opened(tmp_path / "one.zip") as archive:
        infos = archive.infolist()
        assert {info.date_time for info in infos} == {EARLIEST}
        assert [info.compress_type for info in infos] == [
            zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED,
        ]  # fmt: skip
        assert archive.read("b.parquet") == b"PAR1"  # what came to a log after it was looked at is not in it
    assert list(members) == ["a.csv", "b.parquet"]
    confirm(tmp_path / "one.zip", members, ["about.json"])


@pytest.mark.parametrize("at", [40, -1, -60], ids=["in a member", "at the end", "in the list"])
def test_a_damaged_archive_is_no_verified_one(tmp_path: Path, at: int) -> None:
    members = _write(tmp_path / "x.zip")
    data = bytearray((tmp_path / "x.zip").read_bytes())
    del data[at:]
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(VerificationError, match=r"x\.zip is no whole zip file"):
        confirm(tmp_path / "x.zip", members, ["about.json"])


def test_another_content_of_the_same_size_is_told_by_its_name(tmp_path: Path) -> None:
    members = _write(tmp_path / "x.zip")
    with pytest.raises(VerificationError, match=r"a\.csv is not what was put in"):
        confirm(tmp_path / "x.zip", members | {"a.csv": members["b.parquet"]}, ["about.json"])
    with pytest.raises(VerificationError, match="does not hold the members it should"):
        confirm(tmp_path / "x.zip", members)


def test_a_member_of_numbers_is_read_as_others_are(tmp_path: Path) -> None:
    contents = {"labels/ä.txt": b"0 0.5 0.5 1 1\n" * 40, "empty.txt": b"", "a/b.txt": bytes(range(256))}
    found = {}
    for way in ("numbers", "member"):
        with Zip(tmp_path / f"{way}.zip", 0o100644) as archive:
            with archive.member("first.bin", stored=True) as stream:
                stream.write(b"1")
            for name, data in contents.items():
                if way == "numbers":
                    archive.add_numbers(name, data)
                else:
                    with archive.member(name, stored=False) as stream:
                        stream.write(data)
            with archive.member("last.json") as stream:
                stream.write(b"{}")
            members = archive.members
        confirm(tmp_path / f"{way}.zip", members)
        with zipfile.ZipFile(tmp_path / f"{way}.zip") as read:
            about = [(info.filename, info.date_time, info.external_attr, info.flag_bits) for info in read.infolist()]
            found[way] = members, about
    assert found["numbers"] == found["member"]
