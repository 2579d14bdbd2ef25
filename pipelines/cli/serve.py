"""The commands of the HTTP API: `sheaf serve`, and `sheaf users …` for who may use it."""

import sys
from typing import Annotated

import typer

from pipelines.cli import show
from pipelines.cli.arguments import AsJson
from pipelines.http.roles import Role
from sheaf.errors import UsageError

users = typer.Typer(help="Who may use the API of `sheaf serve`.", no_args_is_help=True)
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
Name = Annotated[str, typer.Argument(metavar="NAME")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("serve")(serve)
    app.add_typer(users, name="users")


def serve(
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port; 8000 unless the settings say other.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address; 127.0.0.1 unless the settings say other.")] = None,
) -> None:
    """Serve the HTTP API: what there is, making exports, fetching them, media batches.

    It is documented at `/api/v1/docs`. On this machine no login is needed until the first name is made with
    `sheaf users add`; on any other address one is. What it starts are runs of their own: they go on when it ends.

    Example:

        sheaf serve --port 8000
    """
    import uvicorn

    from pipelines.http.app import build_app
    from pipelines.http.users import Users
    from sheaf.settings import Settings

    settings = Settings.load()
    changed = {key: value for key, value in (("port", port), ("host", host)) if value is not None}
    settings = settings.model_copy(update={"serve": settings.serve.model_copy(update=changed)})
    where = settings.serve
    if where.host not in _LOOPBACK and not Users(settings.home).all():
        raise UsageError(f"On {where.host} anybody can ask: make a name first, `sheaf users add NAME --role admin`.")
    show.say(f"Sheaf: [bold]http://{where.host}:{where.port}[/], documented at /api/v1/docs (stop with Ctrl+C)")
    uvicorn.run(
        build_app(settings),
        host=where.host,
        port=where.port,
        log_level="warning",
        proxy_headers=False,
        server_header=False,
    )


@users.callback()
def _users() -> None:
    """Who may use the API of `sheaf serve`."""


@users.command()
def add(
    name: Name,
    role: Annotated[
        Role, typer.Option(help="viewer: look and fetch; researcher: also make and delete exports; admin: everything.")
    ],
    as_json: AsJson = False,
) -> None:
    """Make a name; the password is asked for, or read from stdin.

    Example:

        sheaf users add ada --role researcher
    """
    from pipelines.http.users import Users
    from sheaf.settings import Settings

    if sys.stdin.isatty():
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    made = Users(Settings.load().home).add(name, role, password)
    if as_json:
        show.json({"name": made.name, "role": made.role})
    else:
        show.OUT.print(f"{made.name} can log in as {made.role}.", highlight=False)


@users.command("list")
def list_users(as_json: AsJson = False) -> None:
    """List the names with their roles."""
    from pipelines.http.users import Users
    from sheaf.settings import Settings

    found = Users(Settings.load().home).all()
    if as_json:
        show.json([{"name": user.name, "role": user.role} for user in found])
    else:
        rows = ((user.name, user.role) for user in found)
        show.table(("name", "role"), rows, "There is no name yet: on this machine itself no login is needed.")


@users.command()
def remove(name: Name, as_json: AsJson = False) -> None:
    """Take a name away; its tokens no longer work."""
    from pipelines.http.users import Users
    from sheaf.settings import Settings

    Users(Settings.load().home).remove(name)
    if as_json:
        show.json({"removed": name})
    else:
        show.OUT.print(f"{name} can no longer log in.", highlight=False)
