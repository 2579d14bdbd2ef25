"""Documents: the small JSON objects in which the store says what it holds, and reading them.

A power cut, a full disk or somebody's editor can leave one empty or torn. Who needs that very document
is told so in one sentence; who lists many goes on without it and says so once. Not here: what becomes
of a damaged one (`sheaf/damage.py`).
"""

import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

from pydantic import BaseModel

from sheaf.errors import DamagedError, NotFoundError
from sheaf.store.store import Store

AT_ONCE = 8
"""How many are read at the same time: on S3 each is a request of its own."""

M = TypeVar("M", bound=BaseModel)

_LOG = logging.getLogger(__name__)


def parse(model: type[M], data: bytes, store: Store, path: str) -> M:
    """The bytes of a document as what it should be.

    Raises:
        DamagedError: they are something else.
    """
    try:
        return model.model_validate_json(data)
    except ValueError as error:
        what = "empty" if not data.strip(b"\0 \r\n") else f"no valid {model.__name__.strip('_').lower()}"
        raise DamagedError(
            f"{store.url}/{path} is damaged, it is {what}: run `sheaf doctor`, which sets it aside."
        ) from error


def read(model: type[M], store: Store, path: str) -> M:
    """One document.

    Raises:
        NotFoundError: there is none.
        DamagedError: it cannot be read.
    """
    return parse(model, store.get(path), store, path)


def create(store: Store, path: str, data: bytes) -> bool:
    """Write a document only if there is none; False when there is one already.

    A store may create it and lose the answer; what is there then is ours, if nobody else writes the same.

    Args:
        data: what no other writer would write there.
    """
    return store.create(path, data) or store.get(path) == data


def read_if_whole(model: type[M], store: Store, path: str) -> M | None:
    """One of many documents; None for one that is gone, or damaged, which is said."""
    try:
        return read(model, store, path)
    except NotFoundError:  # it was removed since it was listed
        return None
    except DamagedError as error:
        passed_over(error)
        return None


def whole(model: type[M], store: Store, paths: Iterable[str]) -> Iterator[M]:
    """Those of many documents that can be read, in the order of their paths, several at once."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for found in pool.map(lambda path: read_if_whole(model, store, path), paths):
            if found is not None:
                yield found


def if_damaged(model: type[BaseModel], store: Store, path: str, *also_whole: bytes) -> bytes | None:
    """The bytes of a document that is damaged; None for one that is whole or not there.

    Args:
        also_whole: what may stand in its place.
    """
    try:
        data = store.get(path)
    except NotFoundError:
        return None
    try:
        parse(model, data, store, path)
    except DamagedError:
        return None if data in also_whole else data
    return None


def passed_over(error: DamagedError) -> None:
    """Say that a damaged document was passed over."""
    _say(str(error))


@cache
def _say(sentence: str) -> None:
    """Once in each process, however often it is met; without a log of its own, Python writes it to stderr."""
    _LOG.warning(sentence)
