"""The example of every source loads, and no secret gets into the configuration or out of it."""

import re
from pathlib import Path

import pytest
from lab import configured as settings_of

from resources.sources import configured_sources
from sheaf.errors import UsageError
from sheaf.settings import Settings

DOCS = Path(__file__).parents[1] / "docs"
EXAMPLES = sorted((DOCS / "sources").glob("*.yaml"))


def load(tmp_path: Path, text: str) -> Settings:
    (tmp_path / "sheaf.yaml").write_text(text)
    return settings_of({"SHEAF_HOME": str(tmp_path)})


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_loads_also_with_what_is_commented_out(example, tmp_path):
    text = example.read_text("utf-8")
    settings = load(tmp_path, text)
    kinds = re.findall(r"^ +(?:- )?kind: (\S+)", text, re.MULTILINE)
    (domain,) = [name for name in ("fermentation", "occurrences", "annotations") if f"\n{name}:" in text]
    assert example.stem.removeprefix(f"{domain}_") in kinds
    offered = [source.name for source in configured_sources(settings).of(domain)]
    assert offered == ["inbox", *(kind for kind in kinds if not kind.startswith("influx"))]
    load(tmp_path, re.sub(r"^( *)#(?=[a-z_]+:)", r"\1", text, flags=re.MULTILINE))


def test_every_kind_of_source_has_an_example():
    table = (DOCS / "sources.md").read_text("utf-8").split("\nLive systems")[0]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| ")][1:]
    named = {(row[1].strip(), kind) for row in rows for kind in re.findall(r"`(\w+)`", row[3])}
    examples = {path.stem for path in EXAMPLES}
    assert {kind if domain == "fermentation" else f"{domain}_{kind}" for domain, kind in named} == examples


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{kind: eln_rest, url: 'http://me:secret@host/api'}", "name environment variables instead"),
        ("{kind: eln_rest, url: 'http://host/api', password: secret}", "there is no setting fermentation.sources.0"),
        ("{kind: eln_postgres, dsn: 'postgresql://me:secret@host'}", "there is no setting fermentation.sources.0"),
        ("{kind: eln_rest, url: host}", "a whole address"),
        ("{kind: oracle}", "eln_postgres"),
        ("{kind: eln_postgres}, {kind: eln_postgres}", "configured once"),
    ],
)
def test_what_does_not_belong_is_refused_without_repeating_it(tmp_path, line, says):
    with pytest.raises(UsageError, match=says) as refused:
        load(tmp_path, f"fermentation: {{sources: [{line}]}}")
    assert "secret" not in str(refused.value)
