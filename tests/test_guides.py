"""The guides for who adds something are done literally as they stand."""

import re
import sys
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import dagster as dg
import pytest
from fermentation_inbox import put_batch, record
from matches_logs import Match, accounted, beep, put, shot
from pydantic import BaseModel
from running import run_steps

from pipelines.definitions import build_definitions
from sheaf.exports.publish import Request, publish
from sheaf.fermentation import schema
from sheaf.fermentation.domain import FERMENTATION
from sheaf.fermentation.readers.ingest import ingest
from sheaf.fermentation.settings import FermentationSettings
from sheaf.later import later
from sheaf.matches import schema as schema_of_matches
from sheaf.matches.readers import dialects, files, text_logs
from sheaf.matches.readers.dialects import DIALECTS
from sheaf.settings import Settings
from sheaf.store.store import Store

DOCS = Path(__file__).parents[1] / "docs"


def code_of(page: str) -> list[str]:
    """The code blocks of a page."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return [dedent(block) for block in re.findall(r"^ *```python\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)]


@pytest.fixture
def made_modules() -> Iterator[Any]:
    """Makes modules of code; they are forgotten afterwards."""
    names = []

    def make(name: str, code: str = "") -> types.ModuleType:
        module = types.ModuleType(name)
        module.__path__ = []  # type: ignore[attr-defined]  # a package, as far as anybody asks
        names.append(name)
        sys.modules[name] = module
        exec(compile(code, f"{name}.py", "exec"), module.__dict__)
        return module

    yield make
    for name in names:
        del sys.modules[name]


@pytest.mark.case("core/export-format-guide-breaks-location")
def test_a_format_is_a_writer_and_an_entry(local_store: Store, tmp_path: Path, made_modules: Any) -> None:
    writer, entry = code_of("add-an-export-format.md")
    made_modules("sheaf.fermentation.writers.samples_html", writer)
    scope = {"later": later, "schema": schema, "Series": type(FERMENTATION.series[0])}
    series = eval(entry, scope)
    domain = replace(FERMENTATION, series=(*FERMENTATION.series, series))
    folder = put_batch(tmp_path / "inbox" / "b4", record())
    run_steps(local_store, domain, "b4", FermentationSettings(), folder, ingest)
    done = publish(local_store, domain, series, Request("b4"), FermentationSettings())
    assert done.manifest.record_count == 8
    assert local_store.get(f"{done.export.path}/samples.html").count(b"<tr>") == 8
    graph = build_definitions(settings(tmp_path), [domain]).resolve_asset_graph()
    node = graph.get(dg.AssetKey(["fermentation", "samples_html"]))
    assert [check.name for check in node.check_keys] == ["verified"]
    assert node.parent_keys == {dg.AssetKey(["fermentation", "records"])}


def settings(home: Path) -> Settings:
    return Settings(home=home, store_url=str(home / "store"), inbox=home / "inbox")


class WeatherSettings(BaseModel):
    """What can be set for weather stations."""

    digits: int = 1


def test_a_domain_is_tables_functions_and_a_declaration(local_store: Store, tmp_path: Path, made_modules: Any) -> None:
    tables, functions, declaration = code_of("add-a-domain.md")
    made_modules("sheaf.weather")
    made_modules("sheaf.weather.schema", tables)
    days = made_modules("sheaf.weather.days", functions)
    weather = made_modules("sheaf.weather.domain", declaration).WEATHER
    folder = tmp_path / "inbox" / "roof"
    folder.mkdir(parents=True)
    lines = ["time,temperature", "2026-03-01T08:00:00Z,4.25", "2026-03-01T20:00:00Z,6.5", "2026-03-02T08:00:00Z,warm"]
    (folder / "readings.csv").write_text("\n".join(lines) + "\n")
    own = WeatherSettings()
    made = run_steps(local_store, weather, "roof", own, folder, days.ingest)
    (account,) = made["readings"].generation.account
    assert (account.seen, account.used, account.rejected) == (3, 2, 1)
    assert made["days"].generation.checks["plausible"].detail == "the hottest day has 5.4 °C"
    (series,) = weather.series
    done = publish(local_store, weather, series, Request("roof"), own)
    assert local_store.get(f"{done.export.path}/days.csv") == b"day,mean\n2026-03-01,5.4\n"
    assert done.manifest.made_with == {"digits": 1}
    (folder / "readings.csv").write_text("\n".join(lines[:2]) + "\n")
    refused = run_steps(local_store, weather, "roof", own, folder, days.ingest)["readings"].generation
    assert "readings: 2 → 1" in (refused.refused or "")


def test_a_dialect_is_a_name_and_a_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, reader = code_of("add-a-dialect.md")
    match = Match(tmp_path)
    match.log(beep(0), shot(2.63))
    lines = [
        b"RANGE 2025-09-14T10:00:02.70Z shot 1 2.63",
        b"RANGE 2025-09-14T10:00:04.10Z shot 2 4.10",
        b"RANGE soon shot 3 5",
    ]
    put(match.folder, "phone.txt", b"\n".join(lines) + b"\n")
    assert match.read().account("sources").left_out == {"unknown": 1}
    monkeypatch.setattr(text_logs, "FORMS", dict(text_logs.FORMS))
    exec(reader, scope := dict(vars(text_logs)))  # as if its lines stood there
    monkeypatch.setitem(files.READERS, "range_app", scope["RangeApp"])
    monkeypatch.setitem(DIALECTS, "range_app", eval(name, vars(dialects)))
    read = match.read(max_line_bytes=1 << 15)  # another setting: what was read is read again
    assert accounted(read)
    assert read.codes() == {"bad_time": 1}
    events = match.rows(schema_of_matches.EVENTS)
    assert [(row["event_type"], row["dialect"]) for row in events] == [
        ("timer_start_beep", "bridge_log"), ("shot_detected", "bridge_log"), ("shot_detected", "range_app"),
    ]  # fmt: skip
    monkeypatch.delitem(DIALECTS, "range_app")
    with pytest.raises(KeyError, match="range_app"):
        match.read(max_line_bytes=1 << 17)
