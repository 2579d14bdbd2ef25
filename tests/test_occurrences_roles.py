"""The role matrix, cell by cell, and what becomes of a refused request."""

from pathlib import Path

import pytest
from occurrences_inbox import SETTINGS, Tables, built, project

from sheaf import activity
from sheaf.errors import UsageError
from sheaf.occurrences.roles import Action, Role, allowed, check_role
from sheaf.store import Store

READ = "list retrieve"
WRITE = f"{READ} create delete"
MATRIX = {  # role: what it may do in a public project, what in a draft
    Role.NONE: (READ, ""),
    Role.BASIC_MEMBER: (READ, READ),
    Role.IDENTIFIER: (READ, READ),
    Role.ML_DATA_MANAGER: (READ, READ),
    Role.RESEARCHER: (WRITE, WRITE),
    Role.PROJECT_MANAGER: (WRITE, WRITE),
    Role.SUPERUSER: (f"{WRITE} update", f"{WRITE} update"),
}


def with_members(*, draft: bool = False) -> Tables:
    given = project()
    given["main_project"][0]["draft"] = draft
    given["main_project_members"] = [
        {"project_id": 1, "user_id": user, "role": role}
        for user, role in ((1, "project_manager"), (2, "Researcher"), (3, "identifier"), (4, "guest of honour"))
    ]
    return given


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("action", Action)
def test_every_cell_of_the_matrix(role: Role, action: Action) -> None:
    public, draft = MATRIX[role]
    assert allowed(role, action, draft=False) == (action in public.split())
    assert allowed(role, action, draft=True) == (action in draft.split())


def test_members_decide_and_refusals_are_noted(tmp_path: Path, local_store: Store) -> None:
    built(local_store, with_members(), tmp_path / "p1")
    for who in ("1", "user:1", "2", "user:2", "sheaf"):
        check_role(local_store, "p1", Action.CREATE, who, SETTINGS)
    for who in ("3", "4", "99", "ada@example.org", "user:"):
        check_role(local_store, "p1", Action.RETRIEVE, who, SETTINGS)
        with pytest.raises(UsageError, match="may not create exports: researcher, project_manager, superuser may"):
            check_role(local_store, "p1", Action.CREATE, who, SETTINGS)
    noted = list(activity.newest(local_store))
    assert {event.who for event in noted} == {"3", "4", "99", "ada@example.org", "user:"}
    assert {(event.what, event.subject) for event in noted} == {("create refused", "occurrences/p1")}


def test_a_draft_is_hidden_from_others(tmp_path: Path, local_store: Store) -> None:
    built(local_store, with_members(draft=True), tmp_path / "p1")
    check_role(local_store, "p1", Action.LIST, "3", SETTINGS)
    with pytest.raises(UsageError, match="no member"):
        check_role(local_store, "p1", Action.LIST, "99", SETTINGS)


def test_without_members_everybody_may(tmp_path: Path, local_store: Store) -> None:
    check_role(local_store, "p1", Action.DELETE, "99", SETTINGS)
    built(local_store, project(), tmp_path / "p1")
    check_role(local_store, "p1", Action.DELETE, "99", SETTINGS)
