"""The port's modules as boards get them: those that are always loaded together as one, constants in place of their names.

As one module, names are kept once and not once in each of them, in files as in memory, and what they import from each other
is there without an import. The modules stay what they are for everybody else; a board's program, too, finds the public
ones under their names.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bundling.names import defined, keywords, most_used_first, rename_arguments
from bundling.packages import PARTS, files
from toolchain import ROOT

# Bundle -> its modules, "broker" aside: that has all that is in no part of a package, but for the packages' own files.
BUNDLES = {
    "mqtt5": PARTS["mqtt5"],
    # What a listener needs is loaded when somebody connects: the first with either of the next two. The last is for programs that
    # have pages of their own.
    "http": ("core/web/http", "core/web/http_response"),
    "websocket": ("core/web/websocket", "core/web/websocket_turns", "micropython/net/websocket_transport"),
    "web": ("core/web/http_connection", "core/web/http_pages", "core/web/routes", "core/web/site", "micropython/net/http_transport"),
    "pages": ("core/messages/trie_pages", "core/monitor/query", "core/sessions/session_index", "core/web/json_text", "core/web/lists",
              "core/web/stored_file"),
    "store": ("core/storage/store", "core/storage/journal", "core/storage/records", "core/storage/flash_log",
              "micropython/flash"),
    "sessions": ("core/storage/session_journal", "core/storage/session_records", "core/storage/session_replay"),
    "listening": ("core/checks", "core/config/registry", "core/config/listener_types", "core/config/listener_config",
                  "micropython/net/listeners"),
    "starting": ("micropython/starting",),
    "configuration": ("core/config/config", "core/wire/suggest", "core/config/apply_config", "core/config/store_config",
                      "micropython/config/apply_config"),
}
# What programs import from; of the other modules in bundles they have no use.
PUBLIC = ("core/auth/authenticator", "core/messages/message", "core/limits/options", "core/wire/properties",
          "core/wire/reason_codes", "core/config/listener_types", "core/storage/store", "core/monitor/query", "core/web/http",
          "core/web/http_response", "core/web/json_text", "core/web/lists", "core/web/routes", "core/web/stored_file",
          "micropython/flash", "micropython/server")

# What a firmware is made of.
FROZEN = (ROOT / "manifest.py", ROOT / "port" / "__init__.py", ROOT / "port" / "core", ROOT / "port" / "micropython",
          *(ROOT / "tools" / "bundling" / f"{name}.py" for name in ("bundles", "names", "packages")))


class Bundles:
    """The sources of a package as they are compiled.

    texts    file -> text, as in "port/broker.py"
    modules  the names of those modules that have something of their own

    `all_names`: with a file for each module of a bundle, public or not; it takes no memory unless it is imported.
    """

    def __init__(self, names: Sequence[str], all_names: bool = False) -> None:
        """Raises ValueError for modules that cannot be one."""
        self.texts: dict[str, str] = {}
        self.modules: list[str] = []
        # A room's __init__ has nothing but its docstring: where there is a file of the room, its folder is enough.
        rooms = [file for file in names if _is_room(file)]
        trees = {module_name(file): ast.parse((ROOT / file).read_text()) for file in names if file not in rooms}
        constants = {module: dict(_constants(tree)) for module, tree in trees.items()}
        version = constants["port.core"].pop("__version__")
        homes = _homes(trees)
        public = {name for module, tree in trees.items() if _file(module) in (*PUBLIC, "core/broker")
                  for node in tree.body for name in defined(node)}
        whole = {module: Rewrite(module, constants, homes, version).whole(tree) for module, tree in trees.items()}
        for bundle in sorted(set(homes.values())):
            members = [module for module in trees if homes.get(module) == bundle]
            joined = _joined(bundle, {module: whole[module] for module in _in_order(members, trees)})
            rename_arguments(joined.body, keywords(trees.values()), public)
            joined.body[:0] = most_used_first(joined.body)
            self._add(bundle, joined)
            self.modules.append(bundle)
            for module in members:
                if all_names or _file(module) in PUBLIC:
                    self._add(module, _reexport(bundle, whole[module], constants[module]))
        for module, tree in trees.items():
            if module not in homes:
                self.modules.append(module)
                package = any(other.startswith(module + ".") for other in trees)
                place = module + ".__init__" if package else module
                self._add(place, tree if module == "port.core" else whole[module])

        for file in rooms:  # what is absent is named by an ImportError, not its room
            if not any(name.startswith(file.removesuffix("__init__.py")) for name in self.texts):
                self.texts[file] = ""

    def _add(self, module: str, tree: ast.Module) -> None:
        self.texts[module.replace(".", "/") + ".py"] = ast.unparse(ast.fix_missing_locations(tree)) + "\n"

    def write(self, folder: Path) -> None:
        """Put the files into a folder; those that are as they were are left alone, others removed."""
        for name, text in self.texts.items():
            path = folder / name
            if not path.exists() or path.read_text() != text:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        for path in folder.rglob("*.py"):
            if path.relative_to(folder).as_posix() not in self.texts:
                path.unlink()


def frozen() -> str:
    """The folder with what a firmware is to freeze, all of it, made anew."""
    folder = ROOT / "build" / "frozen"
    Bundles(files(), all_names=True).write(folder)
    return str(folder)


def module_name(file: str) -> str:
    """What it is imported as, such as "port.core" for port/core/__init__.py."""
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _is_room(file: str) -> bool:
    return file.endswith("/__init__.py") and file.count("/") > 2


def _file(module: str) -> str:
    """The module as tools/bundling/packages.py has it."""
    return module.removeprefix("port.").replace(".", "/")


def _homes(modules: Iterable[str]) -> dict[str, str]:
    """Module -> the bundle it is in, such as "port.broker"."""
    homes = {f"port.{name.replace('/', '.')}": f"port.{bundle}" for bundle, names in BUNDLES.items() for name in names}
    parts = {f"port.{name.replace('/', '.')}" for names in PARTS.values() for name in names}
    alone = parts | {"port", "port.core", "port.micropython"}
    return {module: homes.get(module, "port.broker") for module in modules if module in homes or module not in alone}


def _constants(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """(name, value) of the lines `NAME = 1`, `NAME = const(1)`; bytes and str alike."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name, value = node.targets[0].id, node.value
            if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "const":
                value = value.args[0]
            number = value.operand if isinstance(value, ast.UnaryOp) else value
            if (name.isupper() or name == "__version__") and isinstance(number, ast.Constant):
                yield name, value


class Rewrite(ast.NodeTransformer):
    """One module: constants folded, imports from where the things are, nothing that is only for types."""

    def __init__(self, module: str, constants: dict[str, dict[str, ast.expr]], homes: dict[str, str], version: ast.expr) -> None:
        self._module = module
        self._constants = constants
        self._homes = homes
        self._home = homes.get(module)
        self._known = {"__version__": version}
        if self._home:
            self._known.update(constants[module])
        self._modules: set[str] = set()  # names of modules that are in the same bundle

    def whole(self, tree: ast.Module) -> ast.Module:
        """The rewritten module; the tree given is left alone."""
        copy: ast.Module = self.visit(ast.parse(ast.unparse(tree)))
        for node in ast.walk(copy):
            if isinstance(node, (ast.If, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and not node.body:
                node.body = [ast.Pass()]
        return copy

    def visit_ImportFrom(self, node: ast.ImportFrom) -> list[ast.stmt]:
        found: dict[str, list[ast.alias]] = {}
        module = node.module or ""
        for alias in node.names:
            home = self._homes.get(module)
            value = self._constants.get(module, {}).get(alias.name)
            inner = self._homes.get(f"{module}.{alias.name}")
            if value is not None:
                self._known[alias.asname or alias.name] = value
            elif inner and inner == self._home:
                self._modules.add(alias.name)
            elif inner:
                found.setdefault("port", []).append(ast.alias(inner[len("port."):], alias.asname or alias.name))
            elif (module, alias.name) in (("port.core", "const"), ("port.core", "__version__")):
                continue
            elif home and home == self._home:
                if alias.asname:
                    raise ValueError(f"{self._module}: {alias.name} cannot have another name in the same bundle")
            else:
                found.setdefault(home or module, []).append(alias)
        return [ast.ImportFrom(origin, names, 0) for origin, names in found.items()]

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        name = node.targets[0].id if isinstance(node.targets[0], ast.Name) else ""
        if name == "TYPE_CHECKING" or self._home and name in self._constants[self._module] and node.col_offset == 0:
            return None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        return self.generic_visit(node) if node.value else None

    def visit_If(self, node: ast.If) -> ast.AST | None:
        return None if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" else self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """Slots tell of what there are many instances, and an attribute takes two words of each. What they begin with
        stands in the class, where MicroPython finds it as long as an instance has no other. It knows no slots.
        A line that sets several attributes is left alone. What an object is shown as, which only a programmer asks for, takes
        no flash of a board."""
        slots = [line for line in node.body if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "__slots__"]
        node.body = [line for line in node.body if line not in slots and getattr(line, "name", "") != "__repr__"]
        self.generic_visit(node)
        for method in list(node.body) if slots else ():
            if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                lines = [(line, _beginning(line)) for line in method.body]
                method.body = [line for line, beginning in lines if not beginning]
                node.body[:0] = [beginning for _, beginning in lines if beginning]
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)  # docstrings

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(node.arg)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """A constant's value: nothing else has its name, mypy sees to that."""
        return self._known.get(node.id, node) if isinstance(node.ctx, ast.Load) else node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id in self._modules:
            return ast.Name(node.attr, node.ctx)
        return self.generic_visit(node)


def _beginning(line: ast.stmt) -> ast.stmt | None:
    """The line of a class that does what `self.name = constant` does in its constructor, or `self.name = NAME` with one of the
    module's own; None for any other line."""
    value = getattr(line, "value", None)
    if isinstance(line, (ast.Assign, ast.AnnAssign)) and (
            isinstance(value, ast.Constant) or isinstance(value, ast.Name) and value.id.isupper()):
        target, *others = line.targets if isinstance(line, ast.Assign) else [line.target]
        if not others and isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self":
            return ast.copy_location(ast.Assign([ast.Name(target.attr, ast.Store())], value), line)
    return None


def _in_order(members: list[str], trees: dict[str, ast.Module]) -> list[str]:
    """The modules so that each comes after those it imports."""
    order: list[str] = []

    def add(module: str) -> None:
        if module in order or module not in members:
            return
        for node in trees[module].body:
            if isinstance(node, ast.ImportFrom):
                for name in (node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)):
                    if name != module:
                        add(name)
        order.append(module)

    for module in members:
        add(module)
    return order


def _joined(bundle: str, modules: dict[str, ast.Module]) -> ast.Module:
    """Their statements one after the other. Raises ValueError for a name that would have two meanings."""
    meanings: dict[str, str] = {}
    imports: dict[str, ast.Import | ast.ImportFrom] = {}  # one for each module
    body: list[ast.stmt] = []
    for node in (node for tree in modules.values() for node in tree.body):
        for name, meaning in _meanings(node):
            if meanings.setdefault(name, meaning) != meaning or hasattr(builtins, name):
                raise ValueError(f"{bundle}: {name} has two meanings")
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            known = imports.setdefault(getattr(node, "module", ""), node)
            known.names += [alias for alias in node.names if ast.unparse(alias) not in map(ast.unparse, known.names)]
        else:
            body.append(node)
    return ast.Module([*imports.values(), *body], [])


def _meanings(node: ast.stmt) -> Iterator[tuple[str, str]]:
    """The names that a statement of a module gives a meaning, and which."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        for alias in node.names:
            yield (alias.asname or alias.name).partition(".")[0], f"{getattr(node, 'module', '')}: {alias.name}"
    else:
        for name in defined(node):
            yield name, ast.unparse(node)


def _reexport(bundle: str, tree: ast.Module, constants: dict[str, ast.expr]) -> ast.Module:
    """What a module in a bundle is to those who know it by its own name."""
    body: list[ast.stmt] = [ast.Assign([ast.Name(name, ast.Store())], value) for name, value in constants.items()
                            if not name.startswith("_") and name != "TYPE_CHECKING"]
    names = [name for node in tree.body for name in defined(node) if name not in constants and name != "TYPE_CHECKING"]
    if names:
        body.append(ast.ImportFrom(bundle, [ast.alias(name) for name in names], 0))
    return ast.Module(body, [])
