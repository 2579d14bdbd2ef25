"""YAML and JSON that people write: whatever is wrong with a file is one sentence, and none can hang who reads it.

Here: bytes to plain values. Not here: which keys a file may have (the models of whoever reads it).
"""

import reprlib
from pathlib import Path
from typing import Any

from sheaf.errors import InputError, SheafError
from sheaf.outside.files import open_file

MOST_BYTES = 1024 * 1024
_DEEPEST = 100
_MOST_SHOWN = 80
_MOST_VALUES = 100_000
"""A few lines of aliases can stand for more values than fit into memory."""


def read_yaml(path: Path, error: type[SheafError] = InputError) -> Any:
    """What a YAML file holds; None for an empty one.

    Args:
        error: what is raised for a file that cannot be used.

    Raises:
        SheafError: of that type: no regular file, too large, not readable, or no YAML.
    """
    return _parsed(_bytes(path, error), path, error)


def read_json(path: Path, error: type[SheafError] = InputError) -> Any:
    """What a JSON file holds.

    Args:
        error: what is raised for a file that cannot be used.

    Raises:
        SheafError: of that type: no regular file, too large, not readable, or no JSON.
    """
    import orjson

    try:
        return orjson.loads(_bytes(path, error).removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as problem:
        raise error(f"{path} line {problem.lineno} cannot be read as JSON: {problem.msg}.") from problem


def shown(value: object) -> str:
    """A value from a file as a message may quote it, however large it is."""
    text = reprlib.repr(value)
    return text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "…"


def _bytes(path: Path, error: type[SheafError]) -> bytes:
    if not path.is_file():
        raise error(f"{path} is no regular file: put a file there, or remove it.")
    try:
        with open_file(path) as file:
            data = file.read(MOST_BYTES + 1)
    except InputError as problem:
        raise error(str(problem)) from problem
    except OSError as problem:
        raise error(f"{path} cannot be read: {problem.strerror}. Allow Sheaf to read it.") from problem
    if len(data) > MOST_BYTES:
        raise error(f"{path} is larger than {MOST_BYTES >> 20} MB: it cannot be what it should be.")
    return data


def _parsed(data: bytes, path: Path, error: type[SheafError]) -> Any:
    import yaml

    try:
        loader = _loader(data)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            if _values(node, {}) > _MOST_VALUES:
                raise error(f"{path} stands for more than {_MOST_VALUES} values: write fewer, or fewer aliases.")
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except error:
        raise
    except yaml.MarkedYAMLError as problem:
        line = f" line {problem.problem_mark.line + 1}" if problem.problem_mark else ""
        raise error(f"{path}{line} is not valid YAML: {problem.problem or problem.context}.") from problem
    except RecursionError as problem:
        raise error(f"{path} is not valid YAML: its values are nested too deeply.") from problem
    except Exception as problem:  # half a character and the like
        said = (str(problem).splitlines() or [type(problem).__name__])[0]
        raise error(f"{path} is not valid YAML: {said[:200].rstrip('.')}.") from problem


def _loader(data: bytes) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """Gives up before brackets within brackets take long: each costs as much as there are around it.

        Only true and false are flags, as in YAML 1.2: `country_code: NO` is Norway. Models take yes for a flag, too.
        """

        yaml_implicit_resolvers = {  # noqa: RUF012  # as the base class says
            first: [(tag, pattern) for tag, pattern in found if first in "tTfF" or not tag.endswith(":bool")]
            for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

        def fetch_flow_collection_start(self, TokenClass: Any) -> None:  # noqa: N803  # as the base class says
            if self.flow_level >= _DEEPEST:
                raise RecursionError
            super().fetch_flow_collection_start(TokenClass)

        def construct_object(self, node: Any, deep: bool = False) -> Any:
            """What YAML raises then is whatever Python does: dates that do not exist, numbers too long."""
            try:
                return super().construct_object(node, deep)
            except (yaml.YAMLError, RecursionError):
                raise
            except Exception as problem:
                kind = node.tag.rpartition(":")[2]
                why = f": {problem}" if kind == "timestamp" and isinstance(problem, ValueError) else ""
                said = f"{shown(node.value)} is no {kind}{why}"
                raise yaml.constructor.ConstructorError(None, None, said, node.start_mark) from problem

    return Loader(data)


def _check_unique(node: Any) -> None:
    """Keys of YAML are unique: of two of the same name PyYAML would take the last, and what the first says be lost."""
    import yaml

    seen = set[tuple[str, str]]()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
            if (key.tag, key.value) in seen:
                said = f"the key {shown(key.value)} is there a second time: write what belongs to it once"
                raise yaml.constructor.ConstructorError(None, None, said, key.start_mark)
            seen.add((key.tag, key.value))


def _values(node: Any, known: dict[int, int]) -> int:
    """How many values a node stands for, each alias counted as what it repeats; more than allowed for a circle."""
    import yaml

    if id(node) not in known:
        known[id(node)] = _MOST_VALUES + 1  # as long as it is not counted: who finds it then stands inside it
        children: list[Any] = []
        if isinstance(node, yaml.SequenceNode):
            children = node.value
        elif isinstance(node, yaml.MappingNode):
            _check_unique(node)
            children = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.ScalarNode):
            node.value.encode()  # half a character, which an escape can make, is no text
        known[id(node)] = 1 + sum(_values(child, known) for child in children)
    return known[id(node)]
