"""Who may do what with a project's exports, where the source names its members.

Here: the matrix of roles, and asking it for one request. Not here: who somebody is; requests name a user
by id, as `12` or `user:12`, never by an e-mail address.
"""

from enum import StrEnum

from sheaf import activity
from sheaf.errors import UsageError
from sheaf.occurrences import schema
from sheaf.occurrences.settings import OccurrencesSettings
from sheaf.tables.pinned import Tables


class Action(StrEnum):
    """What can be done with exports."""

    LIST = "list"
    RETRIEVE = "retrieve"
    CREATE = "create"
    DELETE = "delete"
    UPDATE = "update"


class Role(StrEnum):
    """What a user is in a project; `NONE` is everybody else."""

    NONE = "none"
    BASIC_MEMBER = "basic_member"
    IDENTIFIER = "identifier"
    ML_DATA_MANAGER = "ml_data_manager"
    RESEARCHER = "researcher"
    PROJECT_MANAGER = "project_manager"
    SUPERUSER = "superuser"


_READ = frozenset({Action.LIST, Action.RETRIEVE})
_WRITE = frozenset({Action.CREATE, Action.DELETE})
_MEMBERS_MAY: dict[Role, frozenset[Action]] = {
    Role.BASIC_MEMBER: _READ,
    Role.IDENTIFIER: _READ,
    Role.ML_DATA_MANAGER: _READ,
    Role.RESEARCHER: _READ | _WRITE,
    Role.PROJECT_MANAGER: _READ | _WRITE,
    Role.SUPERUSER: _READ | _WRITE | {Action.UPDATE},
}


def allowed(role: Role, action: Action, *, draft: bool) -> bool:
    """Whether a role may do something in a project; a draft is readable by its members only."""
    if role is Role.NONE:
        return action in _READ and not draft
    return action in _MEMBERS_MAY[role]


def check_role(tables: Tables, action: str, requested_by: str, settings: OccurrencesSettings) -> None:
    """Refuse what a project's members table does not allow, and note the refusal among the activities.

    Operators, and everybody where the source names no members, may do all.

    Args:
        action: one of `Action`.

    Raises:
        UsageError: naming the user's role and those that may.
        NotFoundError: the members were never read, so that nobody can know.
    """
    if requested_by in settings.operators:
        return
    wanted, members = Action(action), tables.read(schema.MEMBERS).to_pylist()
    if not members:
        return
    draft = tables.read(schema.DATASET, ["draft"])["draft"][0].as_py()
    roles = _roles_of(requested_by, members)
    if any(allowed(role, wanted, draft=draft) for role in roles):
        return
    may = [role for role in Role if allowed(role, wanted, draft=draft)]
    shown = "no member" if roles == {Role.NONE} else " and ".join(sorted(roles))
    reason = f"{requested_by!r} is {shown} of {tables.partition} and may not {wanted} exports: {', '.join(may)} may."
    activity.log(tables.store, f"{wanted} refused", f"occurrences/{tables.partition}", requested_by, reason)
    raise UsageError(reason)


def _roles_of(requested_by: str, members: list[dict[str, object]]) -> set[Role]:
    """All roles of a user; one that we do not know counts as the lowest."""
    user = requested_by.removeprefix("user:")
    names = {str(member["role"]).replace(" ", "_") for member in members if str(member["user_id"]) == user}
    known = {role.value for role in Role}
    return {Role(name) if name in known else Role.BASIC_MEMBER for name in names} or {Role.NONE}
