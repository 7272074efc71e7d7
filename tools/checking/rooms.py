"""The order of the core's rooms: a file imports from its own room and from those before it; one module awaits.

What points the other way is listed here, with its reason: a module that is loaded only when it is needed, and the classes that
types name. Those are the broker's own interface: its parts are given the broker, a connection or a session to work on.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

# From the bottom to the top. Of the files of port/core itself some stand at the bottom, beside wire, some at the top.
ROOMS = ("wire", "limits", "messages", "routing", "sessions", "auth", "acl", "config", "monitor", "protocol", "storage", "web")
BOTTOM = ("checks", "constants", "transport")
TOP = ("broker", "streams")

AWAITS = "streams"

# Module -> why rooms below its own may load it within a function.
ON_DEMAND = {
    "config.arguments": "texts of errors for what a program gives, loaded where something is wrong",
    "monitor.measures": "counted only for /metrics, when a listener has such pages",
    "monitor.refusals": "words for the log, which small packages leave out",
}
# What types may name from below.
INTERFACES = (
    "acl.acl", "auth.authenticator", "broker", "protocol.connection", "protocol.handle_connect", "sessions.mount_point",
    "sessions.session",
)


def check(tree: ast.Module, module: str) -> Iterator[tuple[int, str]]:
    """Yield (line, message) for each import of a module of the core, such as "wire.codec", that points up."""
    rank = _rank(module)
    if module != AWAITS:
        for found in ast.walk(tree):
            if isinstance(found, (ast.AsyncFunctionDef, ast.Await)):
                yield found.lineno, f"the core does not await: port.core.{AWAITS} does"
    for node, inside, typed in _imports(tree, False, False):
        for name in _names(node):
            other = _rank(name)
            if other is None or rank is None or other <= rank:
                continue
            if not (typed and name in INTERFACES or inside and not typed and name in ON_DEMAND):
                yield node.lineno, f"port.core.{name} is above this: the rooms' order is in tools/checking/rooms.py"


def _rank(module: str) -> int | None:
    room = module.partition(".")[0]
    if room in ROOMS:
        return ROOMS.index(room)
    return 0 if room in BOTTOM else len(ROOMS) if room in TOP else None


def _names(node: ast.ImportFrom) -> Iterator[str]:
    """The modules that a statement imports from."""
    module = (node.module or "").removeprefix("port.core").removeprefix(".")
    if "." in module or module in (*BOTTOM, *TOP):
        yield module
    else:
        yield from (f"{module}.{alias.name}".removeprefix(".") for alias in node.names)


def _imports(tree: ast.AST, inside: bool, typed: bool) -> Iterator[tuple[ast.ImportFrom, bool, bool]]:
    """(statement, whether it stands in a function, whether it is for types alone) of the imports from the core."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ImportFrom):
            if (node.module or "").startswith("port.core"):
                yield node, inside, typed
            continue
        guard = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        yield from _imports(node, inside or function, typed or guard)
