"""Names that become paths: nothing a user types can leave its folder."""

import posixpath
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sheaf.errors import UsageError
from sheaf.names import ExportId, SeriesId, check_partition, is_file_name, parse_export, parse_version

HOSTILE = [
    "", ".", "..", "../x", "a/../b", "/etc", "a/b", "a\\b", "-rf", "_x", ".hidden", "a b", "a\n", "a\x00", "ü",
    "x" * 101, "x" * 300, "a%2e", "C:", "~", "$HOME", "a;b", "١",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_refused_in_one_short_sentence(name: str) -> None:
    with pytest.raises(UsageError) as error:
        check_partition(name)
    assert "is not a valid partition name: use 1 to 100 letters" in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 250


@given(st.one_of(st.text(), st.from_regex(r"[A-Za-z0-9._/-]{0,105}")))
@example("a" * 100)
def test_whatever_is_accepted_is_one_plain_path_segment(name: str) -> None:
    try:
        assert check_partition(name) == name
    except UsageError:
        assert not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name, re.ASCII)
    else:
        path = SeriesId("demo", name, "csv").path
        assert posixpath.normpath(path) == path == f"exports/demo/{name}/csv"


@given(st.text())
@example("a/b/c/v1")
@example("a/b/c/latest")
@example("a/b/c/v" + "9" * 5000)
@example("//a/b/c/v1")
@example("a/../c/v1")
def test_any_text_names_an_export_or_is_refused(text: str) -> None:
    try:
        series, version = parse_export(text)
    except UsageError:
        return
    assert version is None or version > 0
    assert len(series.path.split("/")) == 4


@given(st.integers(1, 999_999_999))
def test_a_version_is_read_as_it_is_written(number: int) -> None:
    export = ExportId(SeriesId("a", "b", "c"), number)
    assert parse_export(str(export)) == (export.series, number)
    assert parse_version(export.path.rsplit("/", 1)[-1]) == number


@pytest.mark.parametrize("text", ["v0", "v00", "3", "v", "v-1", "v1.0", "V1", "v١", " v1", "v1 "])
def test_what_is_no_version(text: str) -> None:
    assert parse_version(text) is None


@pytest.mark.parametrize("path", ["a.csv", "images/ünï cödé.jpg", "a#b", "#/1a#", "x" * 800])
def test_a_file_may_have_an_odd_name(path: str) -> None:
    assert is_file_name(path)


@pytest.mark.parametrize("path", ["", "a\nb", "a\x7f", "a#1", "a#12/b", "\udcff", "x" * 801, "ü" * 401])
def test_a_file_name_that_some_store_refuses(path: str) -> None:
    assert not is_file_name(path)
