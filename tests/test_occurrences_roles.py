"""The role matrix, cell by cell, and what becomes of a refused request."""

from pathlib import Path

import pytest
from occurrences_inbox import SETTINGS, Tables, built, project
from running import current

from sheaf import activity
from sheaf.errors import NotFoundError, UsageError
from sheaf.exports.publish import Request, publish
from sheaf.occurrences.domain import OCCURRENCES
from sheaf.occurrences.roles import Action, Role, allowed
from sheaf.occurrences.roles import check_role as check_role_by
from sheaf.store.store import Store

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


def check_role(store: Store, action: Action, requested_by: str) -> None:
    check_role_by(current(store, OCCURRENCES, "p1"), action, requested_by, SETTINGS)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("action", Action)
def test_every_cell_of_the_matrix(role: Role, action: Action) -> None:
    public, draft = MATRIX[role]
    assert allowed(role, action, draft=False) == (action in public.split())
    assert allowed(role, action, draft=True) == (action in draft.split())


def test_members_decide_and_refusals_are_noted(tmp_path: Path, local_store: Store) -> None:
    built(local_store, with_members(), tmp_path / "p1")
    for who in ("1", "user:1", "2", "user:2", "sheaf"):
        check_role(local_store, Action.CREATE, who)
    for who in ("3", "4", "99", "ada@example.org", "user:"):
        check_role(local_store, Action.RETRIEVE, who)
        with pytest.raises(UsageError, match="may not create exports: researcher, project_manager, superuser may"):
            check_role(local_store, Action.CREATE, who)
    noted = list(activity.newest(local_store))
    assert {event.who for event in noted} == {"3", "4", "99", "ada@example.org", "user:"}
    assert {(event.what, event.subject) for event in noted} == {("create refused", "occurrences/p1")}


def test_a_draft_is_hidden_from_others(tmp_path: Path, local_store: Store) -> None:
    built(local_store, with_members(draft=True), tmp_path / "p1")
    check_role(local_store, Action.LIST, "3")
    with pytest.raises(UsageError, match="no member"):
        check_role(local_store, Action.LIST, "99")


def test_without_members_everybody_may(tmp_path: Path, local_store: Store) -> None:
    built(local_store, project(), tmp_path / "p1")
    check_role(local_store, Action.DELETE, "99")


def test_where_the_members_were_never_read_nobody_may(local_store: Store) -> None:
    with pytest.raises(NotFoundError, match="no members table yet"):
        check_role(local_store, Action.DELETE, "99")
    check_role(local_store, Action.DELETE, "sheaf")


def test_a_members_request_is_refused_before_a_version_exists(tmp_path: Path, local_store: Store) -> None:
    built(local_store, with_members(), tmp_path / "p1")
    for kind in OCCURRENCES.series:
        with pytest.raises(UsageError, match="may not create exports"):
            publish(local_store, OCCURRENCES, kind, Request("p1", member="3"), SETTINGS)
    assert list(local_store.list("exports")) == []
    assert not publish(local_store, OCCURRENCES, OCCURRENCES.series[0], Request("p1", member="1"), SETTINGS).unchanged
