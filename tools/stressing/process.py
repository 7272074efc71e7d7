"""Brokers of tools/stress: processes of their own, started through broker.py, asked over its Unix socket."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import subprocess  # nosec B404 # programs are started from lists of arguments
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from server_process import FOLDER, environment
from toolchain import ROOT

START_SECONDS = 20.0
FIRST = -5  # nice level of what must not wait for the machine
ASK_SECONDS = 60.0  # a broker that is stopped for longer does not answer


class StressError(Exception):
    """A broker could not be started, or what is needed for an attack could not be set up."""


def hurry(pid: int) -> None:
    """Have a process go before others, where we may."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, FIRST)


@functools.cache
def known_options(python: str) -> dict[str, Any]:
    """The options of the code that runs, with a server's defaults."""
    code = "import json; from port.core.limits.options import Options; print(json.dumps(Options().values()))"
    done = subprocess.run(  # nosec B603 # no shell
        [python, "-c", code], cwd=FOLDER, env=environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise StressError("no broker in %s: %s" % (FOLDER, done.stderr))
    found: dict[str, Any] = json.loads(done.stdout)
    return found


class StressedBroker:
    """A running broker.

    ports    of its listeners, in the order of the configuration
    options  its values, by name: the defaults of the code that runs, and those given
    """

    def __init__(
        self, folder: Path, name: str, config: str, options: dict[str, Any], *, python: str, unread_log: bool = False
    ) -> None:
        """`options` that the code of the broker does not know are left out. Raises StressError.

        config      TOML, without the options; folder: for its files
        unread_log  whether standard error is a pipe that nobody reads
        """
        self._said = str(folder / (name + ".sock"))
        self.log = folder / (name + ".log")
        known = known_options(python)
        self.options = {**known, **{key: value for key, value in options.items() if key in known}}
        file = folder / (name + ".toml")
        file.write_text("".join("%s = %s\n" % (key, json.dumps(options[key])) for key in options if key in known) + config)
        program = str(ROOT / "tools" / "stressing" / "broker.py")
        command = [python, program, self._said, "--config", str(file), "--loop", "asyncio"]
        self._pipe = -1
        if unread_log:
            self._pipe, error = os.pipe()
        else:
            error = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        self._process = subprocess.Popen(  # nosec B603 # no shell
            command, cwd=FOLDER, env=environment(), stdin=subprocess.DEVNULL, stdout=error, stderr=error
        )
        os.close(error)
        self.pid = self._process.pid
        self._conn: socket.socket | None = None
        try:
            self.ports = self._wait_for_ports(config.count("[[listener]]"))
        except BaseException:
            self.stop()
            raise

    def _wait_for_ports(self, listeners: int) -> list[int]:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError, ValueError):
                found = self.ask("addresses")
                if len(found) == listeners:
                    return [port for _, port in found]
            time.sleep(0.05)
        raise StressError("the broker does not listen: %s" % (self.log.read_text() if self.log.exists() else ""))

    def ask(self, word: str) -> Any:
        """An answer of broker.py. Raises OSError when there is none in time."""
        if self._conn is None:
            conn = socket.socket(socket.AF_UNIX)
            conn.settimeout(ASK_SECONDS)
            try:
                conn.connect(self._said)
            except OSError:
                conn.close()
                raise
            self._conn = conn
        try:
            self._conn.sendall(word.encode() + b"\n")
            data = b""
            while not data.endswith(b"\n"):
                chunk = self._conn.recv(65536)
                if not chunk:
                    raise ConnectionError("the broker has ended")
                data += chunk
        except OSError:
            self._conn.close()
            self._conn = None
            raise
        return json.loads(data)

    def running(self) -> bool:
        """True until it has ended."""
        return self._process.poll() is None

    def log_size(self) -> int:
        """Bytes it has logged; 0 where nobody reads them."""
        return self.log.stat().st_size if self.log.exists() else 0

    def stop(self) -> None:
        """End the process at once: it may not be able to do it itself."""
        if self._conn is not None:
            self._conn.close()
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> StressedBroker:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()
