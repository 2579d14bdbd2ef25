"""YAML that people write: no file hangs or crashes who reads it, each gets one sentence."""

import os
import time
from pathlib import Path

import pytest

from sheaf.errors import InputError, UsageError
from sheaf.outside.yaml_files import read_yaml, shown

LEVELS = "bcdefghi"
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("a" + LEVELS, LEVELS, strict=False)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 9)}]}}\n"
    for before, name in zip("a" + LEVELS, LEVELS, strict=False)
)
POISON = {
    "a date that does not exist": (b"when: 2026-02-30\n", "day is out of range"),
    "brackets": (b"[" * 4000, "nested too deeply"),
    "a bomb of aliases": (BOMB.encode(), "fewer aliases"),
    "a bomb of merges": (MERGES.encode(), "fewer aliases"),
    "a circle": (b"&a [*a]", "fewer aliases"),
    "digits": (b"a: " + b"9" * 5000, " is no int."),
    "a time zone": (b"a: 2001-12-14t21:59:43-99:00", "24"),
    "no time": (b"a: 1\nb: !!timestamp x", "line 2 is not valid YAML: 'x' is no timestamp."),
    "an empty number": (b"a: !!int ''", "not valid YAML"),
    "no number": (b"a: !!float abc", "not valid YAML"),
    "no truth": (b"!!bool xyz", "not valid YAML"),
    "an object": (b"!!python/object:os.system {}", "constructor"),
    "a list as key": (b"{[1]: 2}", "line 1 is not valid YAML: found unhashable key"),
    "a key twice": (b"a:\n  p17: 1\n  'p17': 2\n", "line 3 is not valid YAML: the key 'p17' is there a second time"),
    "a tab": (b"a:\n\t- b", "line 2 is not valid YAML"),
    "two documents": (b"a: 1\n---\nb: 2", "line 2 is not valid YAML"),
    "an unknown alias": (b"a: *b", "undefined alias"),
    "another encoding": ("a: é".encode("latin-1"), "not valid YAML"),
    "half a character": (b'a: "\\ud800"', "surrogates not allowed"),
    "a zero byte": (b"a: \0", "not valid YAML"),
    "too much": (b"#" * 2_000_000, "larger than 1 MB"),
}


@pytest.mark.case("reliability/poison-match-yaml")
@pytest.mark.case("reliability/poison-media-yaml")
@pytest.mark.parametrize("what", POISON)
def test_poison_is_one_sentence(tmp_path: Path, what: str) -> None:
    data, reason = POISON[what]
    path = tmp_path / "options.yaml"
    path.write_bytes(data)
    started = time.monotonic()
    with pytest.raises(InputError) as refused:
        read_yaml(path)
    said = str(refused.value)
    assert reason in said
    assert said.startswith(str(path))
    assert said.endswith(".")
    assert "\n" not in said
    assert len(said) < 500
    assert time.monotonic() - started < 5
    with pytest.raises(UsageError):
        read_yaml(path, UsageError)


def test_what_is_no_regular_file_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "zeros").symlink_to("/dev/zero")
    for name in ("pipe", "folder", "circle", "zeros", "absent"):
        with pytest.raises(InputError, match="no regular file"):
            read_yaml(tmp_path / name)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"", None),
        (b"# nothing\n", None),
        (b"\xef\xbb\xbfa: b\n", {"a": "b"}),
        ("a: é".encode("utf-16"), {"a": "é"}),
        (b"x: &x {k: 1}\ny: {<<: *x, l: 2}\n", {"x": {"k": 1}, "y": {"k": 1, "l": 2}}),
        (b"just text", "just text"),
    ],
)
def test_what_people_write_is_read(tmp_path: Path, data: bytes, value: object) -> None:
    path = tmp_path / "options.yaml"
    path.write_bytes(data)
    assert read_yaml(path) == value


def test_a_quoted_value_is_short_whatever_it_stands_for() -> None:
    value: list = []
    for _ in range(60):
        value = [value, value]
    assert len(shown(value)) < 100
    assert shown("urgent") == "'urgent'"


def test_only_true_and_false_are_flags(tmp_path: Path) -> None:
    path = tmp_path / "said.yaml"
    path.write_text("{country: NO, on: off, answer: Yes, one: true, other: False}")
    assert read_yaml(path) == {"country": "NO", "on": "off", "answer": "Yes", "one": True, "other": False}
