"""Debian's newer Pythons beside the system's: unpacked into .cache, each with a virtual environment of the pinned packages."""

import tempfile
from pathlib import Path

from debian.archive import Archive
from debian.archive import run as output
from toolchain import CACHE, Piece, install_pieces, pins, run

# Version -> the releases of Debian that have it. Raspberry Pi OS is built on trixie.
RELEASES = {"3.13": ("trixie", "forky", "sid"), "3.14": ("forky", "sid")}

WHEELS = "/usr/share/python-wheels"

# With its own C library, which is newer than the system's. A virtual environment has a link to this file.
WRAPPER = """\
#!/bin/sh
exec "{loader}" --argv0 "$0" --library-path "{libraries}" "{program}" "$@"
"""


def python(version: str) -> Path:
    """The interpreter of the virtual environment, made unless it is there. Raises Unavailable or ToolchainError."""
    folder = CACHE / ("python-" + version)
    about = f"Debian's Python {version} and the packages into .cache, 500 MB, a minute"
    install_pieces([Piece(folder.name, folder, about, [str(folder), pins()], lambda: _make(folder, version))])
    return folder / "venv" / "bin" / "python"


def _make(folder: Path, version: str) -> None:
    debian = folder / "debian"
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="apt-") as name:
        archive = Archive(Path(name) / "apt", output("dpkg", "--print-architecture").strip(), releases=RELEASES[version])
        archive.unpack(debian, f"python{version}-venv")
        archive.unpack_alone(debian, f"libpython{version}-dev")
    programs = debian / "usr" / "bin"
    loader, = (debian / "usr" / "lib").glob("*/ld-linux-*.so.*")
    wrapper = programs / "python3"
    wrapper.write_text(WRAPPER.format(loader=loader, libraries=loader.parent, program=programs / f"python{version}"))
    wrapper.chmod(0o755)
    # Headers for tools/compile: the one that looks for another in /usr/include is that other.
    headers = debian / "usr" / "include"
    own, = headers.glob(f"*-linux-*/python{version}/pyconfig.h")
    own.replace(headers / f"python{version}" / "pyconfig.h")
    # With its own pip: the system's may be too old for it.
    for data in {path.resolve() for path in (debian / "usr" / "lib" / f"python{version}").glob("_sysconfigdata*.py")}:
        data.write_text(data.read_text().replace(WHEELS, str(debian) + WHEELS))
    run(str(wrapper), "-m", "venv", str(folder / "venv"))
    run(str(folder / "venv" / "bin" / "python"), "-m", "pip", "-qq", "--disable-pip-version-check", "install", *pins())
