"""The broker in a process of its own, on either runtime, for tests and tools."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import subprocess  # nosec B404 # programs are started from lists of arguments
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from toolchain import ROOT, find

RUNTIMES = ("cpython", "micropython")
START_SECONDS = 20.0
STOP_SECONDS = 10.0
IDLE_LOOKS = 200

_TROUBLE = re.compile(r"Traceback|internal error|hook failed|never retrieved|never awaited|Fatal")


class ServerError(Exception):
    """The broker could not be started or did not behave; the text holds its output."""


def interpreter(runtime: str) -> str:
    """The path of the runtime's interpreter; raises ServerError when it is not here."""
    path = sys.executable if runtime == "cpython" else find(runtime)
    if path is None:
        raise ServerError("no %s on this machine" % runtime)
    return path


class _Ports:
    """Blocks of ports below those that clients get. A process that has bound the first port of one has the others."""

    first, last, size = 20000, 32000, 100

    def __init__(self) -> None:
        self._guard: socket.socket | None = None
        self._next: Iterator[int] = iter(())

    def take(self) -> int:
        """The next one that nobody uses; those of the block come again when all were taken."""
        for _ in range(2 * self.size):
            port = next(self._next, 0)
            if not port:
                self._next = iter(range(self._block() + 1, self._block() + self.size))
            elif _is_free(port):
                return port
        raise ServerError("no port is free from %d to %d" % (self._block(), self._block() + self.size))

    def _block(self) -> int:
        if self._guard is None:
            guard = socket.socket()
            blocks = list(range(self.first, self.last, self.size))
            random.shuffle(blocks)
            for block in blocks:
                try:
                    guard.bind(("127.0.0.1", block))
                    break
                except OSError:
                    continue
            else:
                raise ServerError("no ports are left")
            self._guard = guard
        return int(self._guard.getsockname()[1])


_ports = _Ports()


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("", port)).close()
        return True
    except OSError:
        return False


def free_port() -> int:
    """A port nobody uses, that no other call gets, in this process or in another one that calls this."""
    return _ports.take()


# Where the broker is: a copy that tools/compile has made, for example.
FOLDER = Path(os.environ.get("BROKER_FOLDER", ROOT))


def environment(folder: Path = FOLDER) -> dict[str, str]:
    """Environment variables with which both runtimes find the package `port`, which is in this folder."""
    # UCOMQTT_FULL is for the tests; the program would take it for an option.
    inherited = {name: value for name, value in os.environ.items() if name != "UCOMQTT_FULL"}
    return {**inherited, "PYTHONPATH": str(folder), "MICROPYPATH": ".frozen:" + str(folder)}


class ServerProcess:
    """A running broker: `port` on 127.0.0.1, `pid`, what it printed so far as `output`.

    By default that is the runtime's own program, with `arguments` and with options given by
    name; `script` is run in its place with the port and `arguments`. `heapsize` is MicroPython's,
    such as "380k", `program` another interpreter, `folder` where the package is. `variables` are further environment variables; unless `listening` it is
    not waited for.
    """

    def __init__(
        self, runtime: str, *arguments: str, script: Path | None = None, heapsize: str = "", listening: bool = True,
        variables: dict[str, str] | None = None, program: Path | None = None, folder: Path = FOLDER, **options: object,
    ) -> None:  # fmt: skip
        self.runtime = runtime
        self.port = free_port()
        command = [str(program or interpreter(runtime))]
        if heapsize:
            command += ["-X", "heapsize=" + heapsize]
        if script is not None:
            command += [str(script), str(self.port), *arguments]
        else:
            command += ["-m", "port." + runtime, "--port", str(self.port), *arguments]
            for name, value in options.items():
                text = str(value).lower() if isinstance(value, bool) else str(value)
                command += ["--" + name.replace("_", "-"), text]
        # A script's print() is in `output` at once; the runtime's own program has to see to that itself.
        shown = {"PYTHONUNBUFFERED": "1"} if script is not None else {}
        self._output = tempfile.TemporaryFile()
        self._process = subprocess.Popen(  # nosec B603 # no shell
            command, cwd=folder, env={**environment(folder), **shown, **(variables or {})}, stdin=subprocess.DEVNULL,
            stdout=self._output, stderr=self._output,
        )  # fmt: skip
        self.pid = self._process.pid
        try:
            if listening:
                self._wait_for_port()
        except BaseException:
            self.kill()
            raise

    @property
    def output(self) -> str:
        """What the broker has printed so far."""
        size = os.fstat(self._output.fileno()).st_size
        return os.pread(self._output.fileno(), size, 0).decode(errors="replace")

    @property
    def returncode(self) -> int | None:
        """The exit status, None while the broker runs."""
        return self._process.poll()

    def resident(self) -> int:
        """Resident memory of the process, bytes."""
        pages = int(Path("/proc/%d/statm" % self.pid).read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def signal(self, number: int) -> None:
        """Send the process a signal."""
        if number == signal.SIGINT and self.runtime == "micropython":
            self._wait_until_idle()
        self._process.send_signal(number)

    def _wait_until_idle(self) -> None:
        """Until it waits for its sockets. MicroPython's unix port leaves whatever it is doing when SIGINT comes, at once, its
        allocator with the lock it has taken, too (ports/unix/unix_mphal.c, MICROPY_ASYNC_KBD_INTR): then it hangs."""
        before = ""
        for _ in range(IDLE_LOOKS):
            try:
                state, *_, user, system = Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].split()[:13]
            except OSError:
                return  # it has ended
            now = f"{user} {system}"
            if state == "S" and now == before:
                return
            before = now
            time.sleep(0.005)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Wait for the process to end; its exit status. Raises TimeoutExpired."""
        return self._process.wait(seconds)

    def trouble(self) -> str:
        """Empty, or what a healthy broker would not have done."""
        if self.returncode is not None:
            return "ended with exit status %d\n%s" % (self.returncode, self.output)
        return self.output if _TROUBLE.search(self.output) else ""

    def stop(self) -> None:
        """Stop the broker as an operator would."""
        if self.returncode is None:
            # MicroPython cannot catch SIGTERM.
            self.signal(signal.SIGTERM if self.runtime == "cpython" else signal.SIGINT)
            try:
                self.wait()
            except subprocess.TimeoutExpired:
                self.kill()
                raise ServerError("does not stop\n" + self.output) from None

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.wait(STOP_SECONDS)

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()
        self._output.close()

    def _wait_for_port(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while self.returncode is None and time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise ServerError("does not listen\n" + self.output)
