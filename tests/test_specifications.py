"""The table of the specifications names commands, resources and tests that there are, and every resource of theirs."""

import re
from pathlib import Path

import pytest
import typer
from fastapi.routing import APIRoute

from pipelines.cli.main import app
from pipelines.http import analysis, batches, occurrences, projects

ROOT = Path(__file__).parent.parent
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in (ROOT / "docs/specifications.md").read_text("utf-8").splitlines()
    if line.startswith("|") and not line.startswith(("|---", "| operation"))
]
COMMANDS = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def _resources() -> set[tuple[str, str]]:
    routes = [route for one in (analysis, batches, occurrences, projects) for route in one.router.routes]
    return {(method, route.path) for route in routes if isinstance(route, APIRoute) for method in route.methods}


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_what_a_row_names_is_there(row: list[str]) -> None:
    assert len(row) == 5
    _, command, resource, test, _ = row
    assert command == "–" or set(re.findall(r"`sheaf ([a-z]+)", command)) <= COMMANDS, command
    if resource != "–":
        method, path = re.fullmatch(r"([A-Z]+) `([^`]+)`", resource).groups()  # type: ignore[union-attr]
        assert method in ("GET", "POST", "PUT", "PATCH", "DELETE")
        mine = {"/", "/api/v1/exports", "/api/v1/activity"}  # those of Sheaf's own
        assert path in mine or (method, path) in _resources(), resource
    name, function = test.split(": ")
    text = (ROOT / "tests" / f"{name}.py").read_text("utf-8")
    assert f"def {function}(" in text, test


def test_every_resource_of_a_specification_is_in_the_table() -> None:
    told = {tuple(re.fullmatch(r"([A-Z]+) `([^`]+)`", row[2]).groups()) for row in ROWS if row[2] != "–"}  # type: ignore[union-attr]
    assert _resources() - told == {("PUT", "/api/v2/exports/{export_id}/")}, "beside PATCH"
