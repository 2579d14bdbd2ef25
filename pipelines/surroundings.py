"""What Sheaf needs around it, as `sheaf doctor` looks at it: folders, models, space, clocks, the daemon.

Each check returns what it found as a clause, and raises `SheafError` with what to do. Not here: sources,
which check themselves, nor what the store holds (`sheaf/damage.py`).
"""

import os
import shutil
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sheaf.errors import InputError, SheafError, StoreError
from sheaf.media.settings import MediaSettings
from sheaf.store.scratch import scratch_folder
from sheaf.store.store import Store

if TYPE_CHECKING:
    from dagster import DagsterInstance

_LOW_SPACE = 1_000_000_000
_CLOCKS_APART_S = 60.0
_SIGN_OF_LIFE_S = 300.0
"""A daemon notes twice a minute that it lives."""


def check_store(store: Store) -> str:
    """Whether it can be written and read, and keeps what it promises."""
    probe = f"doctor/{uuid.uuid4().hex}"
    try:
        if not store.create(probe, b"1") or store.create(probe, b"2") or store.get(probe) != b"1":
            raise StoreError(
                f"{store.url} ignores conditional creation: two writers could share a version number. "
                "Use local disk, AWS S3, MinIO, GCS or Azure."
            )
    finally:
        store.delete([probe])
    return f"{store.url} can be written, read and conditionally created"


def check_clock(store: Store) -> str:
    """Whether the store has the same time as this machine."""
    probe = f"doctor/{uuid.uuid4().hex}"
    try:
        before = datetime.now(UTC)
        store.create(probe, b"1")
        after = datetime.now(UTC)
        written = next(item.modified for item in store.list("doctor") if item.path == probe)
    finally:
        store.delete([probe])
    apart = max((before - written).total_seconds(), (written - after).total_seconds(), 0.0)
    if apart > _CLOCKS_APART_S:
        raise StoreError(
            f"The clocks of this machine and of {store.url} are {apart:.0f} s apart: set both by a time server (NTP)."
        )
    return "this machine and the store agree on the time"


def check_space(store: Store) -> str:
    """Whether there is room for working files, and for a local store itself."""
    with scratch_folder(store) as folder:
        free = {str(store.scratch): shutil.disk_usage(folder).free}
    if store.root is not None:
        free = {str(store.root): shutil.disk_usage(store.root).free}
    for where, left in free.items():
        if left < _LOW_SPACE:
            raise StoreError(f"The disk of {where} has {left / 1e6:.0f} MB left: free some space.")
    return ", ".join(f"{left / 1e9:.0f} GB are free at {where}" for where, left in free.items())


def check_inbox(inbox: Path) -> str:
    """Whether the inbox can be read, and the folder of requests written: answers are put beside them."""
    if not inbox.exists():
        return f"{inbox} is not there yet"
    if not os.access(inbox, os.R_OK | os.X_OK):
        raise InputError(f"{inbox} cannot be read: allow Sheaf to read it.")
    requests = inbox / "requests"
    if requests.exists() and not os.access(requests, os.R_OK | os.W_OK | os.X_OK):
        raise InputError(f"{requests} cannot be written, so no request is answered: allow Sheaf to write there.")
    if not requests.exists() and not os.access(inbox, os.W_OK):
        return f"{inbox} can be read; there are no requests"
    return f"{inbox} can be read, requests can be answered"


def check_media(settings: MediaSettings) -> str:
    """Whether the folders and models that are configured can be read."""
    wrong = [
        f"media.roots: {root} is no folder that can be read: mount it or correct the setting."
        for root in settings.roots
        if not root.is_dir() or not os.access(root, os.R_OK | os.X_OK)
    ]
    wrong += [
        f"media.models.{name}: {path} is no file that can be read: put it there."
        for name, path in settings.models.items()
        if not path.is_file() or not os.access(path, os.R_OK)
    ]
    if wrong:
        raise InputError(" ".join(wrong))
    if not settings.roots and not settings.models:
        return "none are configured: media lie beside their CSV"
    from sheaf.media.choices import of_site

    models = of_site(settings)["ai_model"]
    told = "".join(f"; {name}: {models[name]}" for name in settings.models)
    return f"{len(settings.roots)} folders and {len(settings.models)} models can be read{told}"


def check_instance(instance: "DagsterInstance") -> str:
    """Whether the databases answer."""
    return f"{instance.root_directory}: {instance.get_runs_count()} runs"


def check_daemon(instance: "DagsterInstance") -> str:
    """Whether somebody runs what sensors and schedules ask for; on a machine that only runs commands nobody has to.

    A daemon whose code server is gone lives, and looks at nothing.
    """
    seen = [beat.timestamp for beat in instance.get_daemon_heartbeats().values()]
    what_to_do = "nothing runs by itself until `sheaf dev` or the daemon of a deployment is started"
    if seen and time.time() - max(seen) < _SIGN_OF_LIFE_S:
        states = [state for state in instance.all_instigator_state() if state.status.name != "STOPPED"]
        ticks = [getattr(state.instigator_data, "last_tick_timestamp", None) or 0.0 for state in states]
        if (newest := max(ticks, default=0.0)) and time.time() - newest > _SIGN_OF_LIFE_S:
            since = f"since {datetime.fromtimestamp(newest, UTC):%Y-%m-%d %H:%M} UTC"
            raise SheafError(
                f"The daemon lives, but has looked at no sensor {since}: is the code server running? "
                "One that was started just now needs a minute."
            )
        return "it lives"
    since = f"since {datetime.fromtimestamp(max(seen), UTC):%Y-%m-%d %H:%M} UTC" if seen else "yet"
    if os.environ.get("DAGSTER_HOME"):
        raise SheafError(f"No daemon has run {since}: {what_to_do}.")
    return f"none has run {since}: {what_to_do}"


def check_switches(instance: "DagsterInstance") -> str:
    """Whether somebody has switched off what should run by itself."""
    if names := sorted({state.name for state in instance.all_instigator_state() if state.status.name == "STOPPED"}):
        raise SheafError(f"{', '.join(names)} are switched off: switch them on in the Dagster UI under Automation.")
    return "all are on"
