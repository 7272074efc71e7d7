"""The names that MicroPython knows, asked of a real interpreter."""

import asyncio
import collections
import hashlib
import json
import socket
import subprocess  # nosec B404 # programs are started from lists of arguments
import types
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# Found in newer interpreters, but not in the oldest that is supported.
NOT_IN_FLOOR = {
    "modules": {"micropython": {"RingIO"}},
    "types": {"socket": {"sendall"}},
}
# Methods that dir() of the interpreter does not show.
HIDDEN = {"cancel", "done"}

CPYTHON_TYPES = {
    "str": str, "bytes": bytes, "bytearray": bytearray, "memoryview": memoryview,
    "list": list, "dict": dict, "set": set, "frozenset": frozenset, "tuple": tuple,
    "int": int, "float": float, "deque": collections.deque,
    "OrderedDict": collections.OrderedDict, "hash": type(hashlib.sha256()),
    "socket": socket.socket, "exception": OSError, "function": types.FunctionType,
    "generator": types.GeneratorType, "Event": asyncio.Event, "Lock": asyncio.Lock,
    "reader": asyncio.StreamReader, "writer": asyncio.StreamWriter, "Task": asyncio.Task,
    "Server": asyncio.Server, "Loop": asyncio.AbstractEventLoop,
}


@dataclass(frozen=True)
class Names:
    """What MicroPython offers; `missing` are attributes that only CPython's types have."""

    builtins: frozenset[str]
    types: dict[str, frozenset[str]]
    modules: dict[str, frozenset[str]]
    missing: frozenset[str]


def load(micropython: str, modules: Iterable[str]) -> Names:
    """Ask `micropython` for its types, its builtins and these modules.

    Nothing is cached: the interpreter answers in a few milliseconds.
    """
    script = Path(__file__).with_name("micropython_names.py")
    answer = subprocess.run([micropython, str(script), *sorted(modules)],  # nosec B603 # no shell
                            check=True, capture_output=True, text=True).stdout
    found = json.loads(answer)
    kinds = {name: frozenset(names) - NOT_IN_FLOOR["types"].get(name, set())
             for name, names in found["types"].items()}
    attributes = HIDDEN.union(*kinds.values())
    cpython = {name for kind in CPYTHON_TYPES.values() for name in dir(kind)
               if not name.startswith("__")}
    return Names(
        builtins=frozenset(found["builtins"]),
        types=kinds,
        modules={name: frozenset(names) - NOT_IN_FLOOR["modules"].get(name, set())
                 for name, names in found["modules"].items()},
        missing=frozenset(cpython - attributes),
    )
