"""The subset checker finds every planted trap, and nothing in good code."""

import ast
import functools
import re
import subprocess
import sys

import pytest

from checking import rooms
from checking.names import load
from checking.rules import Zone, check, defined_names, imported_modules
from toolchain import ROOT

CORE = Zone("port.core", packages=("port.core",),
            modules=frozenset({"binascii", "collections"}), guarded=frozenset({"micropython"}))
PORT = Zone("port.micropython", packages=("port.core", "port.micropython"),
            boards=frozenset({"network"}))
TESTS = Zone("tests.core", packages=("port.core",), asserts=True)

MODULES = ("asyncio", "binascii", "collections", "errno", "hashlib", "json", "micropython", "os",
           "random", "re", "socket", "struct", "sys", "time", "dataclasses", "enum", "typing")

# (code, part of the message)
TRAPS = (
    # syntax
    ("def f(a, /): pass", "positional-only"),
    ("f = lambda a, /: a", "positional-only"),
    ("match 1:\n    case 1: pass", "match"),
    ("try: pass\nexcept* OSError: pass", "except*"),
    ("async def f(a): return [x async for x in a]", "async comprehension"),
    ("async def f(a): return [await x for x in a]", "await in a comprehension"),
    ("async def f(): yield 1", "async generator"),
    ("a = []\nb = [*a, 1]", "* in a display"),
    ("a = []\nb = (*a, 1)", "* in a display"),
    ("a = []\nb = {*a}", "* in a display"),
    ("def f(a): return *a, 1", "* in a display"),
    ("d = {}\ne = {**d}", "** in a display"),
    ("d = []\n@d[0]\ndef f(): pass", "decorator"),
    ("x = 1\ny = f'{x!a}'", "!a"),
    ("y = f'{(lambda: 1)()}'", "lambda or dict"),
    # classes
    ("class A(metaclass=type): pass", "metaclass"),
    ("class A: pass\nclass B: pass\nclass C(A, B): pass", "multiple inheritance"),
    ("class A:\n    def __init_subclass__(cls): pass", "never called"),
    ("class A:\n    def __del__(self): pass", "never called"),
    ("class A:\n    def __set_name__(self, o, n): pass", "never called"),
    ("class A:\n    def f(self): self.__x = 1", "not mangled"),
    ("def f(): pass\nf.calls = 0", "attribute of a function"),
    ("def f(): pass\nclass A:\n    g = staticmethod(f)", "staticmethod()"),
    # modules and builtins
    ("from __future__ import annotations", "no module __future__"),
    ("from port.core import TYPE_CHECKING", "TYPE_CHECKING of another module"),
    ("TYPE_CHECKING = False", "unless it is const(0)"),
    ("import dataclasses", "no module dataclasses"),
    ("import enum", "no module enum"),
    ("from typing import Any", "no module typing"),
    ("import os.path", "no module os.path"),
    ("import os\nos.path.join('a')", "os has no path"),
    ("import os\nos.fsync(1)", "os has no fsync"),
    ("import time\ntime.monotonic()", "time has no monotonic"),
    ("import time as t\nt.perf_counter()", "time has no perf_counter"),
    ("from asyncio import Queue", "asyncio has no Queue"),
    ("import asyncio\nasyncio.TaskGroup()", "asyncio has no TaskGroup"),
    ("import errno\nerrno.EPIPE", "errno has no EPIPE"),
    ("import random\nrandom.shuffle([])", "random has no shuffle"),
    ("import struct\nstruct.error", "struct has no error"),
    ("import re\nre.fullmatch('a', 'b')", "re has no fullmatch"),
    ("import micropython\nmicropython.RingIO(8)", "micropython has no RingIO"),
    ("from . import codec", "relative import"),
    ("try: pass\nexcept ConnectionResetError: pass", "no builtin ConnectionResetError"),
    ("try: pass\nexcept TimeoutError: pass", "no builtin TimeoutError"),
    ("vars()", "no builtin vars"),
    ("format(1)", "no builtin format"),
    ("locals()", "locals()"),
    ("slice(1)", "slice()"),
    ("next(iter([]), None)", "next()"),
    ("iter(print, None)", "iter()"),
    ("print('', flush=True)", "print(flush=)"),
    ("zip([], [], strict=True)", "no keyword"),
    ("X = int | None", "union of types"),
    ("X = list[int]", "list[...]"),
    ("def f(n): return getattr(f, 'handle_' + n)", "computed name"),
    ("def f(n): setattr(f, n, 1)", "computed name"),
    # exceptions
    ("try: pass\nexcept OSError as e: print(e.strerror)", "strerror"),
    ("try: pass\nexcept OSError as e: print(e.__cause__)", "__cause__"),
    ("raise ValueError().with_traceback(None)", "with_traceback"),
    # containers
    ("from collections import deque\nd = deque()", "deque needs"),
    ("from collections import deque\nd = deque([], maxlen=3)", "no keyword"),
    ("from collections import deque\nd = deque((), 3)\nd.rotate(1)", "deque has no rotate"),
    ("def f(d): d.move_to_end(1)", "move_to_end"),
    ("def f(d): return d.popitem(last=False)", "no keyword"),
    ("def f(d, s): return d.keys() & s", "view"),
    ("def f(d): return len(d.keys())", "view"),
    ("def f(a): return a[::2]", "step"),
    ("def f(a): a[::2] = b''", "step"),
    # bytes, str and numbers
    ("def f(b): del b[:2]", "del of a slice"),
    ("b = bytearray(2)\ndel b[0]", "del of a bytearray"),
    ("b = bytearray(2)\nb.clear()", "bytearray has no clear"),
    ("b = bytearray(2)\nb.pop()", "bytearray has no pop"),
    ("class A:\n    def __init__(self):\n        self.b = bytearray(2)\n"
     "    def f(self): self.b.insert(0, 1)", "bytearray has no insert"),
    ("def f(b: 'bytearray'): b.reverse()", "bytearray has no reverse"),
    ("def f(mv): return mv.tobytes()", "tobytes"),
    ("def f(mv: 'memoryview'): mv.release()", "memoryview has no release"),
    ("def f(d, b):\n    mv = memoryview(b)\n    return d[mv]", "not hashable"),
    ("def f(b):\n    mv = memoryview(b)\n    return 1 in mv", "in memoryview"),
    ("def f(b): return int.from_bytes(b, byteorder='big')", "no keyword"),
    ("def f(b): return int.from_bytes(b)", "byte order"),
    ("def f(i): return i.bit_length()", "bit_length"),
    ("def f(s): return s.removeprefix('a')", "removeprefix"),
    ("def f(s): return s.isascii()", "isascii"),
    ("def f(s): return s.zfill(3)", "zfill"),
    ("def f(s): return s.split(maxsplit=1)", "no keyword"),
    ("def f(b): return b.decode(errors='ignore')", "no keyword"),
    ("def f(s): return s.startswith(('a', 'b'))", "with a tuple"),
    ("def f(s): return s.encode('ascii')", "utf-8 only"),
    ("import struct\nstruct.pack('!?', True)", "struct has no"),
    ("import hashlib\nhashlib.sha256().hexdigest()", "hexdigest"),
    ("import json\njson.dumps({}, indent=1)", "dumps()"),
    # asyncio and sockets
    ("import asyncio\nasyncio.create_task(print(), name='x')", "no keyword"),
    ("import asyncio\nasyncio.create_task(asyncio.sleep(1))", "no coroutine"),
    ("import asyncio\nasyncio.get_event_loop().call_later(1, print)", "call_later"),
    ("def f(w): return w.get_extra_info('peername', None)", "get_extra_info"),
    ("def f(s): s.recv_into(b'')", "recv_into"),
    ("def f(s): s.shutdown(1)", "shutdown"),
    ("def f(s): s.sendall(b'')", "sendall"),
    ("def f(s): s.bind(('127.0.0.1', 1883))", "getaddrinfo"),
    # house rules
    ("assert 1", "assert"),
    ("import port.cpython.server", "must not import"),
)

CORE_TRAPS = ("import asyncio", "import socket", "import time", "import os", "import sys",
              "import select", "import micropython", "from port.micropython import server",
              "try:\n    import time\nexcept ImportError: pass")

GOOD = '''
from collections import deque
import binascii

from port.core import const
from port.core.wire.codec import Reader

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Protocol
try:
    from micropython import const
except ImportError:
    def const(value):
        return value

_A = const(3)
first, *rest = (1, 2, 3)

class Ring:
    """A class with a method named as one of bytearray's."""

    def __init__(self, size: "int | None" = None, *, kind: "list[int]" = ()) -> None:
        self.buf: "bytearray" = bytearray(size or 8)
        self.view = memoryview(self.buf)
        self.name = "ring"

    def insert(self, data, where=0):
        self.buf[where:where + len(data)] = data
        return self.insert(data, where=1)

    def get(self, topic, default=None):
        return binascii.hexlify(self.view[1:3]) + bytes(self.view)

def find(d: dict[bytes, int], ring: Ring) -> "int | None":
    queue = deque((), 4)
    queue.append(d.pop(b"a", None))
    if (n := len(d)) > 2 and getattr(d, "keys", None):
        del d[b"a"]
    for key in d:
        print("%s %d" % (ring.name, d[key]), end="")
    return sorted(d, key=lambda k: d[k], reverse=True)

async def wait(event):
    rows = [row for row in await event.wait()]
    def generator():
        yield from rows
    return generator
'''


@functools.cache
def names(micropython):
    return load(micropython, MODULES)


def faults(code, zone, micropython):
    return [message for _, message in check(ast.parse(code), zone, names(micropython))]


@pytest.mark.parametrize(("code", "message"), TRAPS)
def test_trap(code, message, tool):
    assert any(message in fault for fault in faults(code, PORT, tool("micropython")))


@pytest.mark.parametrize("code", CORE_TRAPS)
def test_core_imports_nothing_of_its_host(code, tool):
    assert "must not import" in str(faults(code, CORE, tool("micropython")))


@pytest.mark.parametrize("zone", [CORE, PORT])
def test_good_code(zone, tool):
    assert faults(GOOD, zone, tool("micropython")) == []


def test_allowed_by_zone(tool):
    micropython = tool("micropython")
    assert faults("assert 1", TESTS, micropython) == []
    assert faults("import network\nnetwork.WLAN()", PORT, micropython) == []
    assert faults("try:\n    import lwip\nexcept ImportError: pass", PORT, micropython) == []


def test_names_of_the_repository_are_not_builtin_ones(tool):
    tree = ast.parse("def f(ring): ring.rotate(1)")
    asked = names(tool("micropython"))
    assert check(tree, CORE, asked) != []
    assert check(tree, CORE, asked, defined_names([ast.parse("def rotate(): pass")])) == []


def test_imported_modules():
    tree = ast.parse("import a.b, port.core\nfrom c import d\nfrom . import e")
    assert imported_modules([tree]) == {"a.b", "c"}


def test_command(tmp_path, tool):
    path = tmp_path / "trap.py"
    path.write_text("vars()\nvars()  # subset: ok, a planted one\nimport enum\n")
    done = subprocess.run([sys.executable, str(ROOT / "tools" / "subset"), str(path)],
                          capture_output=True, text=True)
    assert done.returncode == 1
    assert re.findall(r":(\d+): (.*)", done.stdout) == [("1", "no builtin vars"),
                                                        ("3", "no module enum")]


@pytest.mark.parametrize("code", [
    "from port.core.broker import Broker",
    "from port.core import broker",
    "def f():\n    from port.core.broker import Broker",
    "from port.core.monitor.refusals import named",
    "from port.core.sessions import session",
    "if TYPE_CHECKING:\n    from port.core.web.http import Request",
    "if TYPE_CHECKING:\n    from port.core.monitor import refusals",
])
def test_imports_that_point_up(code):
    (line, message), = rooms.check(ast.parse(code), "routing.router")
    assert line == 1 + code.count("\n") and "is above this" in message


@pytest.mark.parametrize("code", [
    "from port.core.wire.codec import encode\nfrom port.core.limits import places\nfrom port.core.routing import subscriptions",
    "from port.core import __version__, const\nfrom port.core.checks import check_type",
    "if TYPE_CHECKING:\n    from port.core.broker import Broker\n    from port.core.sessions.session import Session",
    "def f():\n    from port.core.monitor.refusals import named",
])
def test_imports_that_point_down(code):
    assert not list(rooms.check(ast.parse(code), "routing.router"))


def test_every_room_has_its_place_in_the_order():
    found = {path.name for path in (ROOT / "port" / "core").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert found == set(rooms.ROOMS)
    modules = {path.stem for path in (ROOT / "port" / "core").glob("*.py")} - {"__init__"}
    assert modules == {*rooms.BOTTOM, *rooms.TOP}


def test_the_core_does_not_await():
    code = ast.parse("async def f(g):\n    await g")
    assert [line for line, _ in rooms.check(code, "routing.router")] == [1, 2]
    assert not list(rooms.check(code, "streams"))
