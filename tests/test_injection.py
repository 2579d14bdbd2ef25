"""Names and notes of other people stay text on every page: they make no tag, no cell, no heading, no further line."""

import json
import re
from datetime import date
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from matches_logs import Match, put, string

from sheaf.errors import VerificationError
from sheaf.exports import pages
from sheaf.exports.publish import Request, publish
from sheaf.matches.domain import MATCH_REPORT, MATCHES
from sheaf.matches.settings import MatchesSettings
from sheaf.occurrences.writers.dwca_eml import Coverage, eml

HOSTILE = """a "b" 'c' <script>alert(1)</script> | `d` &amp; {{ 7 * 7 }} {% raw %} ]]> --> \u2028\n# e"""


def test_a_match_and_its_shooters_may_be_called_anything(tmp_path: Path) -> None:
    match = Match(tmp_path)
    put(match.folder, "match.yaml", f"name: {json.dumps(HOSTILE)}\ntimezone: UTC\n".encode())
    put(match.folder, "squad.csv", b'run,shooter\n1,"' + HOSTILE.replace('"', '""').encode() + b'"\n')
    match.log(*string(0))
    assert match.read().refused is None
    done = publish(match.store, MATCHES, MATCH_REPORT, Request(match.name), MatchesSettings())
    page = match.store.get(f"{done.export.path}/{done.manifest.files[0].path}").decode()
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 2
    assert "{{ 7 * 7 }}" in page  # a value is no template


def test_a_dataset_may_be_called_anything() -> None:
    dataset = {
        **dict.fromkeys(("slug", "title", "owner", "publisher", "licence", "rights_holder", "protocol"), HOSTILE),
        **{"protocol_description": HOSTILE, "description": HOSTILE, "target_taxon": HOSTILE, "contacts": "[]"},
    }
    document = ET.fromstring(
        eml(dataset, Coverage(1, 1, 1, None, date(2026, 1, 1), date(2026, 1, 2)), date(2026, 2, 1))
    )
    assert document.findtext("dataset/title") == " ".join(HOSTILE.split())
    assert not list(document.iter("script"))


@pytest.mark.parametrize("template", sorted(Path("sheaf").rglob("*.html.j2")), ids=lambda path: path.name)
def test_what_a_template_takes_as_it_is_was_drawn_by_us(template: Path) -> None:
    """`safe` switches escaping off: only for drawings, which are made of numbers."""
    assert all("drawing" in name for name in re.findall(r"{{([^}]*)\| *safe", template.read_text(encoding="utf-8")))


def test_a_value_that_a_template_does_not_get_is_an_error(tmp_path: Path) -> None:
    from jinja2 import UndefinedError

    (tmp_path / "x.html.j2").write_text("<p>{{ name }}</p>")
    assert pages.render(tmp_path / "x.html.j2", name="<b>") == "<p>&lt;b&gt;</p>"
    with pytest.raises(UndefinedError):
        pages.render(tmp_path / "x.html.j2")


def test_a_page_may_hold_sound_and_pictures_and_load_none(tmp_path: Path) -> None:
    page = tmp_path / "x.html"
    held = "data:audio/mpeg;base64,SUQz", "data:image/png;base64,iVBO", "#a"
    for address, alright in (*((one, True) for one in held), ("https://example.org/x.mp3", False), ("x.mp3", False)):
        page.write_text(f'<section id="a"><audio src="{address}"></audio></section>', encoding="utf-8")
        if alright:
            assert pages.sections(page) == ["a"]
        else:
            with pytest.raises(VerificationError, match=r"refers to .*x\.mp3"):
                pages.sections(page)
