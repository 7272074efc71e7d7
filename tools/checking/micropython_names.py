"""Runs on MicroPython: print the names that its types and modules offer, as JSON.

    micropython tools/checking/micropython_names.py MODULE...

A module that this MicroPython does not have is left out of the answer.
"""

import asyncio
import builtins
import hashlib
import json
import socket
import sys
from collections import OrderedDict, deque


def module_names(name):
    """Return all names of a module, or None without such a module."""
    try:
        # The list makes it return the last module of a dotted name.
        module = __import__(name, None, None, ("",))
    except ImportError:
        return None
    # asyncio imports most of its names when they are first used.
    return dir(module) + list(getattr(module, "_attrs", ()))


VALUES = {
    "str": "",
    "bytes": b"",
    "bytearray": bytearray(),
    "memoryview": memoryview(b""),
    "list": [],
    "dict": {},
    "set": set(),
    "frozenset": frozenset(),
    "tuple": (),
    "int": 0,
    "float": 0.0,
    "deque": deque((), 1),
    "OrderedDict": OrderedDict(),
    "exception": OSError(),
    "function": module_names,
    "generator": (value for value in ()),
    "hash": hashlib.sha256(),
    "socket": socket.socket(),
    "Event": asyncio.Event(),
    "Lock": asyncio.Lock(),
    "Stream": asyncio.StreamReader,
    "Server": asyncio.stream.Server,
    "Loop": asyncio.core.Loop,
}

with open("/dev/null") as stream:
    VALUES["file"] = stream
    types = {name: dir(value) for name, value in VALUES.items()}

modules = {}
for name in sys.argv[1:]:
    names = module_names(name)
    if names is not None:
        modules[name] = names

print(json.dumps({"builtins": dir(builtins), "types": types, "modules": modules}))
