"""The brokers that tools/bench compares: which are here, how each is configured, started and stopped.

Everything stays on the loopback interface, on ports the system chose. Each broker gets its defaults, apart from: no
queue limit, so that nothing is dropped, no log line per client, and what a workload needs (ACL, TLS, WebSocket).
"""

import contextlib
import dataclasses
import getpass
import os
import shlex
import shutil
import signal
import socket
import subprocess  # nosec B404 # programs are started from lists of arguments
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench_workloads import Load, rules
from toolchain import ROOT, VENV, find

START_SECONDS = 20.0
STOP_SECONDS = 5.0
AMQTT_SHARE = 0.04  # amqtt needs some 25 times the CPU of the others: it gets so much of the messages


class BenchError(Exception):
    """A broker could not be started or did not deliver; the text says why."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a broker runs: its port and one to spare, a folder of its own, and one with certificates."""

    port: int
    spare: int
    folder: Path
    certificates: Path


@dataclasses.dataclass(frozen=True)
class Broker:
    """How to start one broker; {port} and {config} in the command are filled in."""

    name: str
    version: str
    command: tuple[str, ...]
    configure: Callable[[Load, Place], str] | None = None  # the text of the configuration file
    share: float = 1.0  # part of a workload's messages it gets
    lacks: frozenset[str] = frozenset()  # features it has not, see Load.needs


# -- what each broker's configuration looks like -----------------------------------------------------------------------


def ucomqtt(load: Load, place: Place) -> str:
    """TOML; the rules are in mosquitto's own form, too."""
    lines = [f'acl_file = "{acl_file(load, place)}"'] if load.rules else []
    lines += [
        "[[listener]]", f'type = "{"websocket" if load.way.startswith("ws") else "tcp"}"', 'host = "127.0.0.1"',
        f"port = {place.port}",
    ]
    if load.way in ("tls", "wss"):
        certificate, key = (place.certificates / name for name in ("server.pem", "server.key"))
        lines.append(f'tls = {{ certificate = "{certificate}", key = "{key}" }}')
    return "\n".join(lines) + "\n"


def mosquitto(load: Load, place: Place) -> str:
    """mosquitto.conf."""
    user = getpass.getuser()  # started by root it would become somebody who cannot read the files
    lines = [f"user {user}", "allow_anonymous true", "persistence false", "max_queued_messages 0", "log_type error"]
    if load.rules:
        lines.append(f"acl_file {acl_file(load, place)}")
    if load.way.startswith("ws"):
        # It does not start with a WebSocket listener alone, and binds one to the name of an interface only.
        lines += [f"listener {place.spare} 127.0.0.1", f"listener {place.port} lo", "protocol websockets"]
    else:
        lines.append(f"listener {place.port} 127.0.0.1")
    if load.way in ("tls", "wss"):
        lines += [f"certfile {place.certificates / 'server.pem'}", f"keyfile {place.certificates / 'server.key'}"]
    return "\n".join(lines) + "\n"


def amqtt(load: Load, place: Place) -> str:
    """YAML."""
    lines = [
        "listeners:", "  default:", f"    type: {'ws' if load.way.startswith('ws') else 'tcp'}",
        f"    bind: 127.0.0.1:{place.port}",
    ]
    if load.way in ("tls", "wss"):
        certificate, key = (place.certificates / name for name in ("server.pem", "server.key"))
        lines += ["    ssl: on", f"    certfile: {certificate}", f"    keyfile: {key}"]
    lines += ["plugins:", "  amqtt.plugins.authentication.AnonymousAuthPlugin:", "    allow_anonymous: true"]
    if load.rules:
        filters = ", ".join(f'"{topic}"' for topic in rules(load.rules))
        lines += ["  amqtt.plugins.topic_checking.TopicAccessControlListPlugin:"]
        lines += [f"    {name}: {{ anonymous: [{filters}] }}" for name in ("publish_acl", "acl")]
    return "\n".join(lines) + "\n"


def acl_file(load: Load, place: Place) -> Path:
    """Write the workload's rules as mosquitto wants them."""
    path = place.folder / "acl"
    path.write_text("".join(f"topic readwrite {topic}\n" for topic in rules(load.rules)))
    return path


# -- which brokers are here --------------------------------------------------------------------------------------------


def answer(*command: str) -> str:
    """First line a command prints, or nothing if it cannot be run."""
    try:
        done = subprocess.run(  # nosec B603 # no shell
            command, capture_output=True, text=True, timeout=30, cwd=ROOT, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.partition("\n")[0].strip()


def find_brokers(python: str, peers: list[str]) -> dict[str, Broker]:
    """All brokers that can take part, by name. Raises BenchError for a peer that is not NAME=COMMAND."""
    found = {}
    commit = answer("git", "describe", "--always", "--dirty") or "uncommitted"
    ours = (python, "-m", "port.cpython", "--config", "{config}")
    found["ucomqtt"] = Broker("ucomqtt", f"{commit}, {answer(python, '-VV')}", ours, ucomqtt)
    if program := find("mosquitto"):
        found["mosquitto"] = Broker("mosquitto", answer(program, "-h"), (program, "-c", "{config}"), mosquitto)
    if program := find("amqtt") or shutil.which("amqtt", path=Path(sys.executable).parent):
        version = f"{answer(program, '--version')}, with {AMQTT_SHARE:.0%} of the messages"
        command = (program, "-c", "{config}")
        found["amqtt"] = Broker("amqtt", version, command, amqtt, AMQTT_SHARE, frozenset({"MQTT 5"}))
    for peer in peers:
        name, equals, command_line = peer.partition("=")
        if not equals or "{port}" not in command_line and "{config}" not in command_line:
            raise BenchError(f"--peer wants NAME=COMMAND with {{port}} or {{config}} in it, not {peer!r}")
        lacks = frozenset() if "{config}" in command_line else frozenset({"ACL", "TLS", "WebSocket"})
        found[name] = Broker(name, f"`{command_line}`", tuple(shlex.split(command_line)), ucomqtt, lacks=lacks)
    return found


# -- starting and stopping ---------------------------------------------------------------------------------------------


def make_certificates(folder: Path) -> None:
    """A private authority and a certificate for localhost. Raises BenchError."""
    python = VENV / "bin" / "python"
    command = [str(python) if python.exists() else sys.executable, str(ROOT / "tools" / "cert"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # nosec B603 # no shell
    if done.returncode:
        raise BenchError(f"tools/cert failed: {done.stderr.strip()}")


def stop(process: subprocess.Popen[str]) -> None:
    """End a process we started, with its children: each leads a session of its own."""
    for sign, patience in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            return


def wait_for_port(process: subprocess.Popen[str], port: int) -> None:
    """Return as soon as the broker accepts connections."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise BenchError("ended at once" if process.poll() is not None else f"does not listen on port {port}")


@contextlib.contextmanager
def running(broker: Broker, load: Load, certificates: Path) -> Iterator[tuple[int, int]]:
    """Start a broker for a workload on a free loopback port, give its process id and port, stop it in the end."""
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        port, spare = (probe.getsockname()[1] for probe in (first, second))
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, tempfile.TemporaryFile("w+") as log:
        config = Path(folder, "config")
        if broker.configure:
            config.write_text(broker.configure(load, Place(port, spare, Path(folder), certificates)))
        command = [word.replace("{port}", str(port)).replace("{config}", str(config)) for word in broker.command]
        try:
            process = subprocess.Popen(  # nosec B603 # no shell
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, text=True, start_new_session=True
            )
        except OSError as error:
            raise BenchError(f"cannot be started: {error}") from error
        try:
            wait_for_port(process, port)
            yield process.pid, port
        except BenchError as error:
            log.seek(0)
            last = (log.read().strip().splitlines() or ["it printed nothing"])[-1]
            raise BenchError(f"{error} ({last})") from error
        finally:
            stop(process)
