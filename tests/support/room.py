"""A room for programs: a network of its own, in which all ports are free and nothing else answers, and, as wanted, a file
system that looks like this machine's and forgets all that is written to it.

    with Room(cwd) as room:
        assert room.sh("echo hello") == "hello\\n"

Linux's namespaces do it (unshare, nsenter: util-linux). The network takes no rights, the file system takes root's.
"""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

SECONDS = 120

# What holds the room open, its process 1: brings the loopback up, lays the file system out, says when that is done, waits.
HOLDER = r"""
import fcntl, os, signal, socket, struct, subprocess, sys

with socket.socket() as sock:
    fcntl.ioctl(sock, 0x8914, struct.pack("16sh", b"lo", 0x41))  # SIOCSIFFLAGS, IFF_UP | IFF_RUNNING
if len(sys.argv) > 1:
    scratch, *kept = sys.argv[1:]

    def mount(*arguments):
        subprocess.run(["mount", *arguments], check=True)

    mount("-t", "tmpfs", "tmpfs", scratch)
    for name in ("upper", "work", "root"):
        os.mkdir(f"{scratch}/{name}")
    root = f"{scratch}/root"
    mount("-t", "overlay", "overlay", "-o", f"lowerdir=/,upperdir={scratch}/upper,workdir={scratch}/work", root)
    for name in ("/dev", "/proc", *kept):
        os.makedirs(root + name, exist_ok=True)
        mount("--rbind", name, root + name)
    os.chroot(root)
    os.chdir("/")
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whom nobody waits for is nobody's zombie
print("ready", flush=True)
sys.stdin.read()
"""


class RoomError(Exception):
    """There can be no room, or what is done in it does not succeed; the text holds all that was printed."""


class Room:
    """Where commands run in `cwd`, with `path` in front of the others, until it is left: then all of them end.

    With `scratch`, a folder, what they write is forgotten with it, except below the folders of `kept`.
    """

    def __init__(self, cwd: Path, path: "list[Path] | None" = None, scratch: "Path | None" = None, kept: "tuple[Path, ...]" = ()) -> None:
        """Raises RoomError."""
        self.cwd = cwd
        self.environment = {
            **os.environ, "PATH": ":".join([*map(str, path or []), "/usr/sbin:/usr/bin:/sbin:/bin"]), "HOME": str(cwd),
            "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8",
        }  # fmt: skip
        self._user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        self._root = scratch is not None
        self._holder = subprocess.Popen(
            ["unshare", *self._user, "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
             sys.executable, "-c", HOLDER, *map(str, [scratch, *kept] if scratch else [])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        if self._holder.stdout.readline() != "ready\n":
            raise RoomError(self._holder.communicate()[1])
        pid = self._holder.pid
        self._inside = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]

    def command(self, *words: str, online: bool = False) -> "list[str]":
        """A command as it is given outside to run inside, `online` with this machine's network."""
        enter = ["nsenter", "--target", self._inside, *(["--user", "--preserve-credentials"] if self._user else []), "--mount", "--pid"]
        # Below the root of the room the names of folders mean what they mean there.
        enter += [] if online else ["--net"]
        enter += ["--root"] if self._root else []
        return [*enter, "env", "-C", str(self.cwd), *words]

    def start(self, script: str) -> "subprocess.Popen[str]":
        """Begin a shell script and go on; what it prints is in `stdout`."""
        return subprocess.Popen(
            self.command("sh", "-euc", script), env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def sh(self, script: str, online: bool = False) -> str:
        """Run a shell script, which must succeed line by line; what it prints. Raises RoomError."""
        done = subprocess.run(
            self.command("sh", "-euc", script, online=online), env=self.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS,
        )  # fmt: skip
        if done.returncode:
            raise RoomError(f"{script}\n{done.stdout}")
        return done.stdout

    def ask(self, script: str, *answers: str) -> str:
        """Run a shell script on a terminal, on which each of its questions gets the next answer; what it prints there."""
        pid, terminal = pty.fork()
        if pid == 0:
            words = self.command("sh", "-euc", script)
            os.execvpe(words[0], words, self.environment)
        said, left = b"", list(answers)
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            if not select.select([terminal], [], [], 1)[0]:
                continue
            try:
                data = os.read(terminal, 4096)
            except OSError:  # so a terminal ends
                break
            said += data
            if left and said.rstrip(b" ").endswith(b":"):
                os.write(terminal, left.pop(0).encode() + b"\n")
        os.close(terminal)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status or left:
            raise RoomError(f"{script}\n{said.decode()}")
        return said.decode()

    def wait_for(self, port: int, host: str = "127.0.0.1") -> None:
        """Until somebody listens there. Raises RoomError."""
        probe = (
            "import socket, time\n"
            f"for _ in range({SECONDS * 20}):\n"
            "    try:\n"
            f"        socket.create_connection(({host!r}, {port})).close(); break\n"
            "    except OSError: time.sleep(0.05)\n"
            f"else: raise SystemExit('nobody listens at {host}:{port}')\n"
        )
        done = subprocess.run(self.command("python3", "-c", probe), env=self.environment, capture_output=True, text=True)
        if done.returncode:
            raise RoomError(done.stderr)

    def __enter__(self) -> "Room":
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.communicate()


def clone(source: Path, target: Path, *links: str) -> Path:
    """A copy of a checkout without what was installed or built in it; `links` name what both have together."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(".*", "__pycache__", "build", "dist"))
    for name in links:
        (target / name).symlink_to(source / name)
    return target
