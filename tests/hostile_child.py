"""A child whose readers do what hostile files make readers do. Not a test: `test_child.py` asks it."""

import ctypes
import json
import os
from collections.abc import Iterator

from sheaf.errors import InputError, SourceError
from sheaf.outside.child import serve


def answer(asked: str) -> Iterator[bytes]:
    """Say that it was asked, then do it."""
    yield str(os.getpid()).encode()
    match asked:
        case "crash":
            ctypes.string_at(0)
        case "hang":
            while True:
                pass
        case "fill memory":
            yield bytes(1 << 31)
        case "print":
            print("what a library has to say")
        case "refuse":
            raise InputError("x.parquet is damaged: write it again.")
        case "outage":
            raise SourceError("The disk is away.")
        case "environment":
            yield json.dumps(dict(os.environ)).encode()


if __name__ == "__main__":
    serve(answer)
