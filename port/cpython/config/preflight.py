"""Checks that a valid configuration can start: addresses, certificates, folders.

`check_listeners` looks at the configuration alone. `check` looks at this machine and changes nothing: it opens no listener and no
store. A port in use is not an error, as the running broker itself may use it.
"""

from __future__ import annotations

import os
import re
import socket
import stat
from collections.abc import Iterator, Sequence
from ipaddress import ip_address

from port.core.config.config import Config
from port.core.config.listener_config import ListenerConfig
from port.core.config.store_config import StoreConfig

_EVERYWHERE = ("0.0.0.0", "::")  # nosec B104
_NUMBERS = re.compile(r"[0-9.]+")
_SOCKET_NAME = 107  # most bytes of a Unix socket's path, see unix(7)
_SQLITE = b"SQLite format 3\0"


class CannotStart(Exception):
    """The configuration cannot start; `args` are the reasons, one text each."""


def check_listeners(listeners: Sequence[ListenerConfig]) -> None:
    """Raise ValueError for two listeners in one place, and for a host that looks like an address but is not valid."""
    for number, listener in enumerate(listeners):
        if listener.type != "unix" and (_NUMBERS.fullmatch(listener.host) or ":" in listener.host):
            try:
                ip_address(listener.host.partition("%")[0])
            except ValueError:
                raise ValueError("listener %s: host is no IP address: %r" % (listener.id, listener.host)) from None
        for other in listeners[:number]:
            if _meet(listener, other):
                key = "file" if listener.type == "unix" else "port"
                text = "listener %s: %s is that of listener %s already: %s"
                raise ValueError(text % (listener.id, key, other.id, getattr(listener, key)))


def _meet(one: ListenerConfig, other: ListenerConfig) -> bool:
    """True when both would listen in the same place."""
    if "unix" in (one.type, other.type):
        return one.type == other.type and one.file == other.file
    if one.port != other.port or not one.port:
        return False
    return one.host == other.host or one.host in _EVERYWHERE and (one.host == "::" or ":" not in other.host) or (
        other.host in _EVERYWHERE and (other.host == "::" or ":" not in one.host))


def check(config: Config) -> None:
    """Raise CannotStart with the errors that a start would meet on this machine."""
    found = [text for listener in config.listeners for text in _of_listener(listener)]
    if config.store is not None:
        found += _of_store(config.store)
    if found:
        raise CannotStart(*found)


def _of_listener(listener: ListenerConfig) -> Iterator[str]:
    where = "listener %s: " % listener.id
    if listener.type == "unix":
        for text in _of_socket(listener.file):
            yield "%sfile %s: %s" % (where, listener.file, text)
        return
    try:
        infos = socket.getaddrinfo(listener.host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, _, _, address in infos[:1]:
            with socket.socket(family, kind) as sock:
                sock.bind(address)
    except OSError as e:
        yield "%shost %s: %s" % (where, listener.host, e.strerror or e)


def _of_socket(path: str) -> Iterator[str]:
    if len(os.fsencode(path)) > _SOCKET_NAME:
        yield "a Unix socket's file has a name of %d bytes at most" % _SOCKET_NAME
    elif os.path.lexists(path) and not stat.S_ISSOCK(os.lstat(path).st_mode):
        yield "the file exists and is no socket"
    else:
        yield from _of_folder(path)


def _of_folder(path: str) -> Iterator[str]:
    """The reasons why no file can be made there."""
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        yield "there is no folder %s" % folder
    elif not os.access(folder, os.W_OK | os.X_OK):
        yield "nothing may be written into the folder %s" % folder


def _of_store(store: StoreConfig) -> Iterator[str]:
    if store.type != "sqlite":
        return
    path = store.settings["file"]
    for text in _of_database(path):
        yield "store: file %s: %s" % (path, text)


def _of_database(path: str) -> Iterator[str]:
    if not os.path.exists(path):
        yield from _of_folder(path)
        return
    try:
        with open(path, "r+b") as file:
            start = file.read(len(_SQLITE))
    except OSError as e:
        yield e.strerror or str(e)
        return
    if start and start != _SQLITE:
        yield "is no SQLite database"
