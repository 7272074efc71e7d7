"""The two adapters have one shape: what one Server has the other has, too, with the same parameters, or a reason stands here."""

import ast
from typing import Any

import pytest

from toolchain import ROOT

SIDES = ("cpython", "micropython")

# What one side alone has, or has in another form: name -> why.
SERVER = {
    "PLACES": "CPython counts connections that are no clients, a board has no sockets to spare for them",
    "anteroom": "as PLACES",
    "most_sockets": "as PLACES",
    "open_sockets": "as PLACES",
    "make_room": "as PLACES",
    "spare": "file descriptors, of which a board has none",
    "sockets": "CPython counts clients' sockets, a board has their transports in `links`",
    "links": "as sockets",
    "slow": "CPython ends the slowest client when memory is short, a board the one for which there was none",
    "served": "CPython's epoll; a board's is asyncio's own poller, which begins with the start",
    "frames": "CPython keeps frames of WebSocket that many clients are sent",
    "fill": "a board's clients share `buffer`, which is CPython's asyncio's alone",
    **dict.fromkeys(("view", "joined", "joined_view", "unused", "took"), "as fill"),
    "serve_client": "a board's listening sockets have no room for it",
    "lose": "a board's reading or writing may fail for want of memory",
    "failed": "as lose",
    "close_authenticators": "a board's start is in starting.py, which is forgotten after it",
    "strained": "as lose: what watches the heap asks",
    "fit": "CPython counts files, a board sockets; a board's configuration calls it",
    "places": "as fit",
}
SOCKET_TRANSPORT = {
    "__init__": "CPython's gets its connection from asyncio or a Stream, a board's has the socket",
    **dict.fromkeys(
        ("connection_made", "connection_lost", "receive", "pause_writing", "resume_writing"), "CPython's is a Receiver of Stream"
    ),
    **dict.fromkeys(("begin", "open", "ready", "failed", "drop", "cut", "conn", "deadline"), "a board's reads the socket itself"),
    "key": "CPython's Sockets serve clients in turn by it",
    "unsent": "CPython ends the slowest client when memory is short",
    "give_up": "as unsent",
    "certificate_bytes": "revocation lists are for CPython",
}
WEBSOCKET_TRANSPORT = {
    "__init__": SOCKET_TRANSPORT["__init__"],
    "ready": "a board's reads the socket itself",
}
LISTENING_SOCKET = {
    "__init__": "a board's does not keep its configuration",
    **dict.fromkeys(
        ("WITHOUT", "make", "prepare", "change", "obstacles"),
        "a board's are in net/listeners.py, which is forgotten after the start",
    ),
    **dict.fromkeys(("host", "port", "paths", "origins"), "CPython's are in `config`"),
    **dict.fromkeys(("listener", "tls"), "CPython's are in ListenerType, which a board forgets after the start"),
    "open": "CPython looks names up without blocking",
    "bind": "as open",
    **dict.fromkeys(("failed", "ready"), "a board's socket is polled by the one poller"),
    "link": "CPython has `transport`, a board loads what is not plain MQTT for the first client",
    "transport": "as link",
    **dict.fromkeys(("client", "receiver"), "CPython has handshakes before the client: TLS, PROXY protocol"),
    **dict.fromkeys(("pages", "site"), "CPython's are in HttpListener; a board's class is for listeners of all types"),
}


def class_of(path: str, name: str) -> ast.ClassDef:
    found = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return next(node for node in ast.walk(found) if isinstance(node, ast.ClassDef) and node.name == name)


def parameters(function: Any) -> str:
    """The parameters without their types, and whether it is to be awaited."""
    for argument in ast.walk(function.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    kind = "async " if isinstance(function, ast.AsyncFunctionDef) else ""
    kind += "".join("@%s " % ast.unparse(decorator) for decorator in function.decorator_list)
    return kind + ast.unparse(function.args)


def attributes(function: Any) -> set[str]:
    """What a constructor sets."""
    found = set()
    for node in ast.walk(function):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        found |= {target.attr for target in targets if isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self"}
    return found


def shape(path: str, name: str) -> dict[str, str]:
    """The public members of a class: parameters of methods, empty for attributes."""
    found = {}
    for node in class_of(path, name).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if node.name == "__init__":
                found.update(dict.fromkeys(attributes(node), ""))
            found[node.name] = parameters(node)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            found[ast.unparse(target)] = ""
    dunder = ("__init__", "__aenter__", "__aexit__")
    return {name: text for name, text in found.items() if not name.startswith("_") or name in dunder}


def differences(places: tuple[str, str], name: str, inherited: dict[str, str] | None = None) -> set[str]:
    """The members that one side lacks, or has in another form; what one overrides the other has inherited."""
    first, second = ({**(inherited or {}), **shape("port/%s/%s" % pair, name)} for pair in zip(SIDES, places, strict=True))
    return {member for member in set(first) | set(second) if first.get(member) != second.get(member)}


@pytest.mark.parametrize(("name", "places", "reasons"), [
    ("Server", ("server.py", "server.py"), SERVER),
    ("SocketTransport", ("net/transport.py", "net/transport.py"), SOCKET_TRANSPORT),
    ("WebSocketTransport", ("net/transport.py", "net/websocket_transport.py"), WEBSOCKET_TRANSPORT),
    ("ListeningSocket", ("net/listening_socket.py", "net/listening_socket.py"), LISTENING_SOCKET),
])
def test_one_shape(name, places, reasons):
    found = differences(places, name, shape("port/core/broker.py", "Broker") if name == "Server" else None)
    assert found <= set(reasons), "without a reason: %s" % sorted(found - set(reasons))
    assert found == set(reasons), "no difference any more: %s" % sorted(set(reasons) - found)


def test_what_a_program_calls_is_the_same():
    """Nobody gives these a reason to differ."""
    calls = (
        "listen", "configure", "change", "register", "start", "stop", "serve", "addresses", "described", "set_log_level",
        "publish", "subscribe", "unsubscribe", "on", "off", "__init__", "__aenter__", "__aexit__",
    )  # fmt: skip
    assert not set(calls) & set(SERVER)
    for member in calls:
        for side in SIDES:
            assert member in {**shape("port/core/broker.py", "Broker"), **shape("port/%s/server.py" % side, "Server")}


def names(file: str) -> set[str]:
    """The names that a package exports."""
    for node in ast.parse((ROOT / file).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            imports = [other for other in node.body if isinstance(other, ast.ImportFrom)]
            return {alias.name for other in imports if other.module != "typing" for alias in other.names}
    return set()


def test_the_same_names_leave_through_both_packages():
    lazy = names("port/cpython/__init__.py")
    board = names("port/micropython/__init__.py") | {"Message", "Options", "Authenticator", "Server"}
    assert lazy - board == {"EventLoop"}  # a board's is asyncio's
    assert board - lazy == {"FlashStore", "run"}  # stores and commands of a server have modules of their own
