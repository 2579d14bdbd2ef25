"""The reference pages say what the declarations say."""

from pathlib import Path

import pytest

from pipelines.reference import pages
from sheaf.domains import DOMAINS
from sheaf.settings import Settings

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize("name", sorted(pages()))
def test_a_page_is_what_the_declarations_say(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == pages()[name], "run `make docs` and commit docs/"


@pytest.mark.case("front-door/settings-undocumented")
def test_every_column_filter_option_and_setting_has_a_meaning() -> None:
    for name, page in pages().items():
        for line in page.splitlines():
            cells = [cell.strip() for cell in line.replace("\\|", "/").split("|")[1:-1]]
            if name != "checks.md" and cells and cells[0].startswith("`"):
                assert cells[3], f"{name}: {line}"


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_step_declares_settings_that_there_are(domain: str) -> None:
    model = Settings.model_fields[domain].annotation
    for step in DOMAINS[domain].steps:
        assert {*step.settings, *step.tuning} <= set(model.model_fields), step.name
