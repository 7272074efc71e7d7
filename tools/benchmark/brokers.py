"""The brokers that tools/bench compares: which are here, how each is configured, started and stopped.

Everything stays on the loopback interface, on ports the system chose. Each broker gets its defaults, apart from: no
queue limit, so that nothing is dropped, no log line per client, and what a workload needs (ACL, TLS, WebSocket).
"""

import contextlib
import dataclasses
import functools
import getpass
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess  # nosec B404 # programs are started from lists of arguments
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmark.workloads import Flows, Workload, rules
from toolchain import CACHE, NODE_MODULES, ROOT, VENV, find

COMPILED = CACHE / "compiled"  # where `tools/compile .cache/compiled` puts it
START_SECONDS = 20.0
STOP_SECONDS = 5.0
# Parts of the workloads for those who would need minutes for all of it.
AMQTT_SHARE = 0.04
AEDES_SHARE = 0.1
IOTCORE_FILTERS = 0.1
EACH_SHARE = 0.03  # of what is kept, with an fsync for each operation
EACH_NORMAL_SHARE = 0.1


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
    """How to start one broker; {port}, {config}, {way}, {certificate} and {key} in the command are filled in."""

    name: str
    describe: Callable[[], str]  # its version, which takes a moment to ask for
    command: tuple[str, ...]
    configure: Callable[[Workload, Place], str] | None = None  # the text of the configuration file
    share: float = 1.0  # part of a workload's amount it gets
    shares: Mapping[str, float] = dataclasses.field(default_factory=dict)  # the same for single kinds of workload, or all `kept`
    lacks: frozenset[str] = frozenset()  # features it has not, see Workload.needs


# -- what each broker's configuration looks like -----------------------------------------------------------------------


def ucomqtt(load: Workload, place: Place, durability: str = "") -> str:
    """TOML; the rules are in mosquitto's own form, too. With a `durability` it has a store."""
    lines = ["max_queued_messages = 65535"]
    if load.rules:
        lines.append(f'acl_file = "{acl_file(load, place)}"')
    lines += [
        "[[listener]]", f'type = "{"websocket" if load.way.startswith("ws") else "tcp"}"', 'host = "127.0.0.1"',
        f"port = {place.port}",
    ]
    if load.way in ("tls", "wss"):
        certificate, key = (place.certificates / name for name in ("server.pem", "server.key"))
        lines.append(f'tls = {{ certificate = "{certificate}", key = "{key}" }}')
    if durability:
        lines += ["[store]", 'type = "sqlite"', f'file = "{place.folder / "broker.db"}"', f'durability = "{durability}"']
    return "\n".join(lines) + "\n"


def mosquitto(load: Workload, place: Place, saving: bool = False) -> str:
    """mosquitto.conf; `saving`: it writes its state after each turn of its loop that has changed something."""
    user = getpass.getuser()  # started by root it would become somebody who cannot read the files
    lines = [f"user {user}", "allow_anonymous true", "max_queued_messages 0", "log_type error"]
    if isinstance(load, Flows) and load.kept:
        lines.append(f"max_inflight_messages {load.window}")  # it ends a connection with more at QoS 2
    if saving:
        lines += ["persistence true", f"persistence_location {place.folder}/", "autosave_interval 1", "autosave_on_changes true"]
    else:
        lines.append("persistence false")
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


def amqtt(load: Workload, place: Place) -> str:
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


def iotcore(load: Workload, place: Place) -> str:
    """rumqttd's TOML."""
    section = "ws" if load.way.startswith("ws") else "v5" if load.version == 5 else "v4"
    lines = [
        "id = 0", "[router]", "id = 0", "max_connections = 20000", "max_outgoing_packet_count = 200",
        "max_segment_size = 104857600", "max_segment_count = 10",
        f"[{section}.1]", 'name = "bench"', f'listen = "127.0.0.1:{place.port}"', "next_connection_delay_ms = 0",
        f"[{section}.1.connections]", "connection_timeout_ms = 60000", "max_payload_size = 1048576",
        "max_inflight_count = 100", "dynamic_filters = true",
    ]
    if load.way in ("tls", "wss"):
        certificate, key = (place.certificates / name for name in ("server.pem", "server.key"))
        lines += [f"[{section}.1.tls]", f'certpath = "{certificate}"', f'keypath = "{key}"']
    return "\n".join(lines) + "\n"


def acl_file(load: Workload, place: Place) -> Path:
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


def _commit() -> str:
    return answer("git", "describe", "--always", "--dirty") or "uncommitted"


def find_brokers(python: str, peers: list[str]) -> dict[str, Broker]:
    """All brokers that can take part, by name. Raises BenchError for a peer that is not NAME=COMMAND."""
    ours = (python, "-m", "port.cpython", "--config", "{config}")
    found = {"ucomqtt": Broker("ucomqtt", lambda: f"{_commit()}, {answer(python, '-VV')}", ours, ucomqtt)}

    def add(name: str, describe: Callable[[], str], *command: str, **more: Any) -> None:
        found[name] = Broker(name, describe, command, **more)

    for durability in ("none", "batch", "sync"):
        add(f"ucomqtt-{durability}", lambda durability=durability: f"the same with a store (SQLite), durability {durability}",  # type: ignore[misc]
            *ours, configure=functools.partial(ucomqtt, durability=durability))  # fmt: skip
    each = (python, "-m", "tools.benchmark.each", "--config", "{config}")
    for name, durability, share in (("ucomqtt-each", "sync", EACH_SHARE), ("ucomqtt-each-normal", "batch", EACH_NORMAL_SHARE)):
        said = f"the same with one transaction per operation, durability {durability}, with {share:.0%} of what is kept"
        add(name, lambda said=said: said, *each, configure=functools.partial(ucomqtt, durability=durability),  # type: ignore[misc]
            shares={"kept": share})  # fmt: skip
    if program := find("mosquitto"):
        add("mosquitto", lambda: answer(program, "-h"), program, "-c", "{config}", configure=mosquitto)
        add("mosquitto-saving", lambda: "the same with autosave_on_changes true, autosave_interval 1",
            program, "-c", "{config}", configure=functools.partial(mosquitto, saving=True))  # fmt: skip
    if amqtt_program := find("amqtt") or shutil.which("amqtt", path=Path(sys.executable).parent):
        add("amqtt", lambda: f"{answer(amqtt_program, '--version')}, with {AMQTT_SHARE:.0%} of each workload",
            amqtt_program, "-c", "{config}", configure=amqtt, share=AMQTT_SHARE,
            lacks=frozenset({"MQTT 5", "shared subscriptions"}))  # fmt: skip
    venv = str(VENV / "bin" / "python")
    packages = next(iter((VENV / "lib").glob("python3.*/site-packages")), VENV)
    if (packages / "uvloop").exists():
        add("ucomqtt-uvloop", lambda: "the same with uvloop",
            "env", f"PYTHONPATH={packages}", *ours, "--loop", "uvloop", configure=ucomqtt)  # fmt: skip
    if COMPILED.exists():
        add("ucomqtt-compiled", lambda: "the same compiled with tools/compile", "env", "-C", str(COMPILED), *ours, configure=ucomqtt)
    if (packages / "iotcore").exists():
        add("iotcore", lambda: answer(venv, "-m", "iotcore", "--version").removeprefix("iotcore ")
            + f", with {IOTCORE_FILTERS:.0%} of the filters",
            venv, "-m", "iotcore", "--config", "{config}", "--log-level", "CRITICAL", configure=iotcore,
            shares={"Filters": IOTCORE_FILTERS},
            # It sends 200 retained messages to a new subscriber and drops the others.
            lacks=frozenset({"ACL", "many retained messages"}))  # fmt: skip
    node = find("node")
    if node and (NODE_MODULES / "aedes").exists():
        about = json.loads((NODE_MODULES / "aedes" / "package.json").read_text())
        add("aedes", lambda: f"{about['version']}, Node {answer(node, '--version')}, with {AEDES_SHARE:.0%} of each workload",
            node, str(ROOT / "tools" / "benchmark" / "aedes.mjs"), str(NODE_MODULES), "{way}", "{port}", "{certificate}", "{key}",
            share=AEDES_SHARE,
            # It tells of a session only where that has subscriptions.
            lacks=frozenset({"MQTT 5", "ACL", "shared subscriptions", "sessions"}))  # fmt: skip
    for peer in peers:
        name, equals, command_line = peer.partition("=")
        if not equals or "{port}" not in command_line and "{config}" not in command_line:
            raise BenchError(f"--peer wants NAME=COMMAND with {{port}} or {{config}} in it, not {peer!r}")
        lacks = frozenset() if "{config}" in command_line else frozenset({"ACL", "TLS", "WebSocket"})
        add(name, lambda command_line=command_line: f"`{command_line}`", *shlex.split(command_line),  # type: ignore[misc]
            configure=ucomqtt, lacks=lacks)  # fmt: skip
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
def running(broker: Broker, load: Workload, certificates: Path) -> Iterator[tuple[int, int]]:
    """Start a broker for a workload on a free loopback port, give its process id and port, stop it in the end."""
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        port, spare = (probe.getsockname()[1] for probe in (first, second))
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, tempfile.TemporaryFile("w+") as log:
        config = Path(folder, "config.toml")  # iotcore goes by the suffix, the others do not care
        if broker.configure:
            config.write_text(broker.configure(load, Place(port, spare, Path(folder), certificates)))
        known = {
            "{port}": str(port), "{config}": str(config), "{way}": load.way,
            "{certificate}": str(certificates / "server.pem"), "{key}": str(certificates / "server.key"),
        }
        command = list(broker.command)
        for name, value in known.items():
            command = [word.replace(name, value) for word in command]
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
