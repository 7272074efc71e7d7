"""`ucomqtt health`: check that the broker of a configuration answers, as a container's HEALTHCHECK does.

The cheapest listener is asked, in this order: pages, Unix socket, TCP, WebSocket, with TLS, behind a load balancer. Every answer
counts, a refusal too; no answer in time does not. A listener with PROXY protocol may distrust this machine, so a closed
connection counts as its answer.
"""

from __future__ import annotations

import argparse
import socket
import ssl

from port.core.config.listener_config import ListenerConfig
from port.cpython.cli import command, fail

_TYPES = ("http", "unix", "tcp", "websocket")  # in the order of asking
_CONNECT = b"\x10\x15\0\4MQTT\4\2\0\x3c\0\x09ucomqtt-h"  # clean session, client id ucomqtt-h
_PING = b"\xc0\0"
_GOODBYE = b"\xe0\0"
# Address of a listener -> address to ask.
_EVERY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # nosec B104


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(
        prog=command() + " health",
        description="Say whether the broker of a configuration answers: an MQTT CONNECT and PINGREQ, or the page /healthz where "
        "there is one. Exit status 0: it does, 1: it does not.",
    )
    found.add_argument(
        "--config", metavar="FILE", help="the broker's configuration (default: the environment's, else 127.0.0.1:1883)"
    )
    found.add_argument("--host", metavar="HOST", help="address, in place of the configuration's listeners")
    found.add_argument("--port", type=int, metavar="PORT", help="port there (default 1883)")
    found.add_argument("--timeout", type=float, default=3, metavar="SECONDS", help="longest wait (default %(default)s)")
    return found


def main(arguments: list[str]) -> int:
    """Run the command; exit status 0 with an answer, 1 without, 2 misuse or a wrong configuration."""
    args = parser().parse_args(arguments)
    listener: ListenerConfig | None
    if args.host is not None or args.port is not None:
        listener = ListenerConfig({"host": args.host or "127.0.0.1", "port": args.port or 1883})
    else:
        from port.core.config.config import Config
        from port.cpython import built_in  # noqa: F401 # registers the types
        from port.cpython.config import config_file
        from port.cpython.config.config_sources import ConfigError

        try:
            gathered = config_file.gather(config_file.parser().parse_args(["--config", args.config] if args.config else []))
            listeners = Config(gathered.values, False, config_file.PROGRAM).listeners
            listener = min([entry for entry in listeners if entry.type in _TYPES], key=_effort, default=None)
        except (ConfigError, ValueError) as e:
            return fail("health: %s" % e, 2)
    if listener is None:
        return fail("health: the configuration has no listener of type %s to ask" % ", ".join(_TYPES))
    try:
        answer = ask(listener, args.timeout)
    except TimeoutError:
        return fail("health: listener %s, %s: no answer in %g s" % (listener.id, listener.place(), args.timeout))
    except OSError as e:
        return fail("health: listener %s, %s: %s" % (listener.id, listener.place(), e.strerror or e))
    if not answer:
        return fail("health: listener %s, %s: this is no answer of a broker" % (listener.id, listener.place()))
    print("alive: " + answer)
    return 0


def _effort(listener: ListenerConfig) -> tuple[bool, bool, int]:
    return listener.proxy_protocol, listener.tls is not None, _TYPES.index(listener.type)


def ask(listener: ListenerConfig, timeout: float) -> str:
    """A listener's answer in words; empty for an answer that no broker gives. Raises OSError, TimeoutError."""
    with _connected(listener, timeout) as sock:
        if listener.proxy_protocol:
            sock.sendall(b"PROXY UNKNOWN\r\n")
        try:
            secured = _secured(sock) if listener.tls is not None else sock
            answer = _talk(listener, secured)
        except ssl.SSLError as e:
            return "TLS, %s" % (e.reason or e)  # the listener wants a client certificate
        except ConnectionError:
            if not listener.proxy_protocol:
                raise
            answer = ""
    return answer or ("the connection was ended" if listener.proxy_protocol else "")


def _connected(listener: ListenerConfig, timeout: float) -> socket.socket:
    if listener.kind.PLACE == "port":
        return socket.create_connection((_EVERY.get(listener.host, listener.host), listener.port), timeout)
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(timeout)
    try:
        sock.connect(listener.settings["file"])
    except OSError:
        sock.close()
        raise
    return sock


def _secured(sock: socket.socket) -> ssl.SSLSocket:
    """The socket with TLS. Nothing secret is sent, so the certificate is not verified."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(sock)


def _talk(listener: ListenerConfig, sock: socket.socket) -> str:
    if listener.type in ("http", "websocket"):
        path = "/healthz" if listener.type == "http" else next((path for path in listener.settings["paths"] if path != "*"), "/")
        sock.sendall(b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n" % path.encode())
        line = sock.recv(1000).partition(b"\r\n")[0].decode("latin-1")
        failed = line.startswith("HTTP/1.1 5")  # the broker reports a fault of its own
        return line if line.startswith("HTTP/1.1 ") and not failed else ""
    sock.sendall(_CONNECT)
    answer = sock.recv(4)
    if len(answer) < 4 or answer[0] != 0x20:
        return ""
    if answer[3]:
        return "CONNACK %d" % answer[3]  # it wants a user name and password
    sock.sendall(_PING)
    if sock.recv(2) != b"\xd0\0":
        return ""
    sock.sendall(_GOODBYE)
    return "PINGRESP"
