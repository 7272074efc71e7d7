"""Debian's CPython for 32-bit ARM, run by QEMU in user mode: system calls, sockets among them, are the PC's."""

import fcntl
import shutil
import tempfile
from pathlib import Path

from debian.archive import Archive, Unavailable, run
from toolchain import CACHE, find

FOLDER = CACHE / "arm32"
PACKAGES = ("python3-minimal", "libpython3-stdlib")

WRAPPER = """\
#!/bin/sh
folder=$(dirname "$(readlink -f "$0")")
export PYTHONPYCACHEPREFIX="$folder/pycache"
exec {qemu} -L "$folder/debian" "$folder/debian/usr/bin/python3" "$@"
"""


def python() -> Path:
    """The command, fetched unless it is there. Raises Unavailable."""
    qemu = find("qemu-arm-static")
    if not qemu:
        raise Unavailable("missing: qemu-arm-static")
    command = FOLDER / "python3"
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "arm32.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not command.exists():
            _fetch(qemu)
    probe = "import platform, sys; print(platform.machine(), sys.maxsize == 2**31 - 1)"
    if run(str(command), "-c", probe).split() != ["armv7l", "True"]:
        raise Unavailable("the one that was fetched is none for 32-bit ARM")
    return command


def _fetch(qemu: str) -> None:
    """Unpack Debian's packages beside FOLDER, then move the whole there at once."""
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="apt-") as name:
        unpacked = Path(name) / "arm32"
        Archive(Path(name) / "apt", "armhf").unpack(unpacked / "debian", *PACKAGES)
        library = unpacked / "debian" / "lib"
        if not library.exists():
            library.symlink_to("usr/lib")
        wrapper = unpacked / "python3"
        wrapper.write_text(WRAPPER.format(qemu=qemu))
        wrapper.chmod(0o755)
        shutil.rmtree(FOLDER, ignore_errors=True)
        unpacked.rename(FOLDER)
