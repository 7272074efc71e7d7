"""The rules of the MicroPython subset, over a file's syntax tree.

`check` visits one file and yields (line, message) for every construct that
MicroPython refuses, lacks or takes otherwise than CPython. What is inside
annotations and `if TYPE_CHECKING:` never runs there and is not looked at.
Types are inferred only where it is plain: `x = bytearray(8)`, `x: "bytes"`.
"""

import ast
import builtins
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from checking.names import CPYTHON_TYPES, Names

Fault = tuple[int, str]
Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef

CPYTHON_BUILTINS = frozenset(dir(builtins))
MODULE_GLOBALS = frozenset({"__file__", "__name__", "__path__"})

NO_KEYWORDS = frozenset({
    "bytearray", "bytes", "count", "create_task", "decode", "deque", "encode", "endswith", "find",
    "format_map", "from_bytes", "get", "hex", "index", "int", "join", "pack", "pack_into", "pop",
    "popitem", "pow", "replace", "rfind", "round", "rsplit", "setdefault", "split", "startswith",
    "str", "strip", "sum", "to_bytes", "unpack", "unpack_from", "zip",
})
ABSENT_ATTRIBUTES = frozenset({
    "__annotations__", "__cause__", "__code__", "__context__", "__defaults__", "__doc__",
    "__mro__", "__qualname__", "__subclasses__", "__suppress_context__", "__traceback__",
    "__wrapped__",
})
IGNORED_METHODS = frozenset({
    "__class_getitem__", "__del__", "__format__", "__getattribute__", "__index__",
    "__init_subclass__", "__missing__", "__prepare__", "__set_name__",
})
STRUCT_FUNCTIONS = frozenset({"calcsize", "pack", "pack_into", "unpack", "unpack_from"})
TYPE_NAMES = frozenset({"bool", "bytearray", "bytes", "dict", "float", "frozenset", "int", "list",
                        "memoryview", "object", "set", "str", "tuple", "type"})
INFERRED = frozenset({"bytearray", "bytes", "deque", "dict", "frozenset", "list", "memoryview",
                      "set", "str", "tuple"})


@dataclass(frozen=True)
class Zone:
    """What the files of one folder may do.

    packages: of this repository that may be imported. modules: the only others
    allowed; None for all that MicroPython has. guarded: allowed inside a `try`
    with `except ImportError`. boards: allowed although the interpreter lacks them.
    """

    name: str
    packages: tuple[str, ...] = ()
    modules: frozenset[str] | None = None
    guarded: frozenset[str] = frozenset()
    boards: frozenset[str] = frozenset()
    asserts: bool = False


def check(tree: ast.Module, zone: Zone, names: Names, own: frozenset[str] = frozenset(),
          siblings: frozenset[str] = frozenset()) -> list[Fault]:
    """Return the faults of one file, by line.

    `own` are names that the repository defines itself, so that a method called
    `insert` of a class of ours is not taken for bytearray's.
    `siblings` are further modules that may be imported.
    """
    checker = _Checker(tree, zone, names, own | defined_names([tree]), siblings)
    checker.visit(tree)
    return sorted(set(checker.faults))


def imported_modules(trees: Iterable[ast.Module]) -> frozenset[str]:
    """Return the top-level names of all imported modules."""
    found = set()
    for node in _walk(trees):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return frozenset(name for name in found if name.split(".")[0] not in ("port", "tests"))


def defined_names(trees: Iterable[ast.Module]) -> frozenset[str]:
    """Return the names of all functions, classes, methods and attributes that are set."""
    found = set()
    for node in _walk(trees):
        if isinstance(node, Definition):
            found.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
    return frozenset(found)


def _walk(trees: Iterable[ast.AST]) -> Iterator[ast.AST]:
    for tree in trees:
        yield from ast.walk(tree)


class _Checker(ast.NodeVisitor):
    """Visits one file and collects its faults."""

    def __init__(self, tree: ast.Module, zone: Zone, names: Names, own: frozenset[str],
                 siblings: frozenset[str]) -> None:
        self.zone = zone
        self.names = names
        self.own = own
        self.siblings = siblings
        self.faults: list[Fault] = []
        self.modules: dict[str, str] = {}
        self.bound = _bound_names(tree)
        self.functions = {node.name for node in tree.body if isinstance(node, Function)}
        self.attribute_types = _attribute_types(tree)
        self.scopes = [_local_types(tree.body)]
        self.classes = 0
        self.guarded = False

    def fault(self, node: ast.AST, message: str) -> None:
        self.faults.append((getattr(node, "lineno", 1), message))

    # Imports

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._import(node, alias.name)
            if alias.asname:
                self.modules[alias.asname] = alias.name
            else:
                root = alias.name.split(".")[0]
                self.modules[root] = root

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level:
            self.fault(node, "relative import: name the package")
            return
        module = node.module or ""
        if not self.zone.asserts and any(alias.name == "TYPE_CHECKING" for alias in node.names):
            self.fault(node, "TYPE_CHECKING of another module: what it guards is compiled, write TYPE_CHECKING = const(0)")
        if not self._import(node, module) or module not in self.names.modules or self.guarded or module in self.zone.boards:
            return
        for alias in node.names:
            if alias.name not in self.names.modules[module]:
                self.fault(node, f"{module} has no {alias.name}")

    def _import(self, node: ast.AST, module: str) -> bool:
        """Judge the import of a module; True for one that is not of this repository."""
        root = module.split(".")[0]
        zone = self.zone
        if any(module == package or module.startswith(package + ".") for package in zone.packages):
            return False
        if module in self.siblings:
            return False
        if root in ("port", "tests"):
            self.fault(node, f"{zone.name} must not import {module}")
            return False
        if self.guarded and (zone.modules is None or module in zone.guarded):
            return True
        if zone.modules is not None and module not in zone.modules:
            self.fault(node, f"{zone.name} must not import {module}")
        elif module not in self.names.modules and root not in zone.boards:
            self.fault(node, f"no module {module}")
        return True

    def visit_Try(self, node: ast.Try) -> None:
        outer = self.guarded
        self.guarded = outer or any(_catches_import_error(handler) for handler in node.handlers)
        for statement in node.body:
            self.visit(statement)
        self.guarded = outer
        for part in (node.handlers, node.orelse, node.finalbody):
            for child in part:
                self.visit(child)

    # Statements

    def visit_If(self, node: ast.If) -> None:
        if _is_type_checking(node.test):
            for statement in node.orelse:
                self.visit(statement)
        else:
            self.generic_visit(node)

    def visit_Assert(self, node: ast.Assert) -> None:
        if not self.zone.asserts:
            self.fault(node, "assert is stripped from frozen code")
        self.generic_visit(node)

    def visit_Match(self, node: ast.Match) -> None:
        self.fault(node, "match statement")

    def visit_TryStar(self, node: ast.AST) -> None:
        self.fault(node, "except*")

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        if any(isinstance(inner, ast.Yield) for inner in _own_scope(node.body)):
            self.fault(node, "async generator")
        self._function(node)

    def _function(self, node: Function) -> None:
        self._parameters(node.args)
        for decorator in node.decorator_list:
            self._decorator(decorator)
        if self.classes and node.name in IGNORED_METHODS:
            self.fault(node, f"{node.name} is never called")
        self.scopes.append(_local_types(node.body, node.args))
        for statement in node.body:
            self.visit(statement)
        self.scopes.pop()

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._parameters(node.args)
        self.visit(node.body)

    def _parameters(self, arguments: ast.arguments) -> None:
        if arguments.posonlyargs:
            self.fault(arguments.posonlyargs[0], "positional-only parameters")
        for default in (*arguments.defaults, *arguments.kw_defaults):
            if default is not None:
                self.visit(default)

    def _decorator(self, node: ast.expr) -> None:
        plain = node.func if isinstance(node, ast.Call) else node
        while isinstance(plain, ast.Attribute):
            plain = plain.value
        if not isinstance(plain, ast.Name):
            self.fault(node, "decorator other than a dotted name or its call")
        self.visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        if node.keywords:
            self.fault(node, "keyword in a class statement (metaclass)")
        if len(node.bases) > 1:
            self.fault(node, "multiple inheritance: the method order differs")
        for decorator in node.decorator_list:
            self._decorator(decorator)
        for base in node.bases:
            self.visit(base)
        self.classes += 1
        for statement in node.body:
            self.visit(statement)
        self.classes -= 1

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value:
            self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            if _is_type_checking(target) and not self.zone.asserts and ast.unparse(node.value) != "const(0)":
                self.fault(node, "what TYPE_CHECKING guards is compiled unless it is const(0)")
            if (isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name)
                    and target.value.id in self.functions):
                self.fault(node, "attribute of a function")
            if (isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Slice)
                    and target.slice.step is not None):
                self.fault(node, "assignment to a slice with a step")
        self.generic_visit(node)

    def visit_Delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            if isinstance(target, ast.Subscript):
                if isinstance(target.slice, ast.Slice):
                    self.fault(node, "del of a slice (works on lists only)")
                elif self._type(target.value) == "bytearray":
                    self.fault(node, "del of a bytearray's item")
        self.generic_visit(node)

    # Expressions

    def visit_Name(self, node: ast.Name) -> None:
        if (node.id in CPYTHON_BUILTINS and node.id not in self.names.builtins
                and node.id not in self.bound and node.id not in MODULE_GLOBALS):
            self.fault(node, f"no builtin {node.id}")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        module = self._module(node.value)
        kind = self._type(node.value)
        if module is not None:
            # The machine of the unix port is none.
            if module in self.names.modules and module not in self.zone.boards and not self._has(module, node.attr):
                self.fault(node, f"{module} has no {node.attr}")
        elif node.attr in ABSENT_ATTRIBUTES:
            self.fault(node, f"no attribute {node.attr}")
        elif kind is not None:
            if node.attr in dir(CPYTHON_TYPES[kind]) and node.attr not in self.names.types[kind]:
                self.fault(node, f"{kind} has no {node.attr}")
        elif node.attr in self.names.missing and node.attr not in self.own:
            self.fault(node, f"no builtin type has {node.attr}")
        elif (self.classes and node.attr.startswith("__") and not node.attr.endswith("__")):
            self.fault(node, f"{node.attr} is not mangled")
        self.generic_visit(node)

    def _has(self, module: str, name: str) -> bool:
        return name in self.names.modules[module] or module + "." + name in self.names.modules

    def visit_List(self, node: ast.List) -> None:
        self._display(node)

    def visit_Tuple(self, node: ast.Tuple) -> None:
        self._display(node)

    def visit_Set(self, node: ast.Set) -> None:
        self._display(node)

    def _display(self, node: ast.List | ast.Tuple | ast.Set) -> None:
        stored = isinstance(getattr(node, "ctx", None), ast.Store)
        if not stored and any(isinstance(item, ast.Starred) for item in node.elts):
            self.fault(node, "* in a display")
        self.generic_visit(node)

    def visit_Dict(self, node: ast.Dict) -> None:
        if None in node.keys:
            self.fault(node, "** in a display")
        self.generic_visit(node)

    def visit_Slice(self, node: ast.Slice) -> None:
        if node.step is not None:
            self.fault(node, "slice with a step (works on lists and tuples only)")
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if isinstance(node.value, ast.Name) and node.value.id in TYPE_NAMES:
            self.fault(node, f"{node.value.id}[...] outside an annotation")
        if self._type(node.slice) == "memoryview" and self._type(node.value) in (None, "dict"):
            self.fault(node, "memoryview is not hashable")
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        for side in (node.left, node.right):
            if isinstance(node.op, ast.BitOr) and _is_type(side):
                self.fault(node, "union of types outside an annotation")
            if isinstance(node.op, (ast.BitAnd, ast.BitOr, ast.Sub)) and _is_view(side):
                self.fault(node, "set operation on a dict's view")
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        for operator, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(operator, (ast.In, ast.NotIn)) and self._type(right) == "memoryview":
                self.fault(node, "in memoryview")
        self.generic_visit(node)

    def visit_FormattedValue(self, node: ast.FormattedValue) -> None:
        if node.conversion == ord("a"):
            self.fault(node, "!a in an f-string")
        if any(isinstance(inner, (ast.Lambda, ast.Dict)) for inner in ast.walk(node.value)):
            self.fault(node, "lambda or dict in an f-string")
        self.generic_visit(node)

    def visit_ListComp(self, node: ast.ListComp) -> None:
        self._comprehension(node)

    def visit_SetComp(self, node: ast.SetComp) -> None:
        self._comprehension(node)

    def visit_DictComp(self, node: ast.DictComp) -> None:
        self._comprehension(node)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        self._comprehension(node)

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
                       ) -> None:
        if any(generator.is_async for generator in node.generators):
            self.fault(node, "async comprehension")
        # The first iterable is evaluated outside the comprehension.
        inside = [child for child in ast.walk(node) if isinstance(child, ast.Await)]
        outside = set(ast.walk(node.generators[0].iter))
        if any(child not in outside for child in inside):
            self.fault(node, "await in a comprehension")
        self.generic_visit(node)

    # Calls

    def visit_Call(self, node: ast.Call) -> None:
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        first = node.args[0] if node.args else None
        keywords = {keyword.arg for keyword in node.keywords}
        # A module of ours may have its own pack() or get(); asyncio's is never ours.
        module = self._module(function.value) if isinstance(function, ast.Attribute) else None
        if isinstance(function, ast.Name) and name not in self.bound:
            self._builtin_call(node, name, keywords)
        if name not in self.own or module in self.names.modules:
            if keywords and name in NO_KEYWORDS:
                self.fault(node, f"{name}() takes no keyword arguments")
            self._method_call(node, name, keywords)
        if module == "struct" and name in STRUCT_FUNCTIONS and "?" in _text(first):
            self.fault(node, 'struct has no "?"')
        if name in ("create_task", "wait_for", "gather"):
            for argument in node.args:
                if _called(argument) in ("sleep", "sleep_ms"):
                    self.fault(node, "sleep() is no coroutine: wrap it in an async function")
        self.generic_visit(node)

    def _builtin_call(self, node: ast.Call, name: str, keywords: set[str | None]) -> None:
        count = len(node.args)
        if name == "print" and "flush" in keywords:
            self.fault(node, "print(flush=)")
        elif name == "next" and count > 1:
            self.fault(node, "next() with a default")
        elif name == "iter" and count > 1:
            self.fault(node, "iter() with a sentinel")
        elif name == "slice":
            self.fault(node, "slice() cannot be called")
        elif name == "locals":
            self.fault(node, "locals() does not return the local variables")
        elif name in ("classmethod", "staticmethod"):
            self.fault(node, f"{name}() other than as a decorator")
        elif name in ("getattr", "setattr", "hasattr") and count > 1:
            if not isinstance(node.args[1], ast.Constant):
                self.fault(node, f"{name}() with a computed name takes memory for ever")
        elif name == "len" and _is_view(node.args[0] if count else None):
            self.fault(node, "len() of a dict's view")

    def _method_call(self, node: ast.Call, name: str, keywords: set[str | None]) -> None:
        count = len(node.args)
        first = node.args[0] if node.args else None
        if name == "deque" and count < 2:
            self.fault(node, "deque needs (iterable, maxlen)")
        elif name in ("startswith", "endswith") and isinstance(first, ast.Tuple):
            self.fault(node, f"{name}() with a tuple")
        elif name == "from_bytes" and count < 2:
            self.fault(node, "from_bytes() without the byte order")
        elif name == "encode" and first is not None and _text(first) not in ("utf-8", "utf8"):
            self.fault(node, "encode() knows utf-8 only")
        elif name == "get_extra_info" and count > 1:
            self.fault(node, "get_extra_info() with a default")
        elif name == "dumps" and keywords - {"separators"}:
            self.fault(node, "dumps() takes separators only")
        elif name in ("bind", "connect") and isinstance(first, ast.Tuple):
            self.fault(node, f"{name}() with a tuple: use getaddrinfo()[0][-1]")
        elif name == "count" and count > 1 and self._type(_receiver(node)) == "list":
            self.fault(node, "list.count() with a range")

    # Knowledge about names

    def _module(self, node: ast.expr | None) -> str | None:
        """Return the module that an expression names."""
        if isinstance(node, ast.Name) and node.id not in self.bound:
            return self.modules.get(node.id)
        if isinstance(node, ast.Attribute):
            outer = self._module(node.value)
            if outer is not None and f"{outer}.{node.attr}" in self.names.modules:
                return f"{outer}.{node.attr}"
        return None

    def _type(self, node: ast.expr | None) -> str | None:
        """Return the builtin type of an expression where it is plain to see."""
        if isinstance(node, ast.Name):
            for scope in reversed(self.scopes):
                if node.id in scope:
                    return scope[node.id]
            return None
        if isinstance(node, ast.Attribute):
            return self.attribute_types.get(node.attr)
        return _value_type(node)


def _bound_names(tree: ast.Module) -> frozenset[str]:
    """Return all names that the file itself gives a value to, imported modules aside."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, Definition):
            found.add(node.name)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            found.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
    return frozenset(found)


def _local_types(body: Iterable[ast.AST], parameters: ast.arguments | None = None
                 ) -> dict[str, str | None]:
    """Return the builtin type of each name that this scope assigns to.

    None stands for a name whose type is unknown or changes.
    """
    found: list[tuple[str, str | None]] = []
    if parameters is not None:
        for parameter in (*parameters.posonlyargs, *parameters.args, *parameters.kwonlyargs):
            found.append((parameter.arg, _annotated_type(parameter.annotation)))
    for node in _own_scope(body):
        found += [(target.id, kind) for target, kind in _assignments(node)
                  if isinstance(target, ast.Name)]
    return _unambiguous(found)


def _attribute_types(tree: ast.Module) -> dict[str, str | None]:
    """Return the builtin type of each attribute that the file assigns to."""
    return _unambiguous((target.attr, kind) for node in ast.walk(tree)
                        for target, kind in _assignments(node)
                        if isinstance(target, ast.Attribute))


def _unambiguous(found: Iterable[tuple[str, str | None]]) -> dict[str, str | None]:
    kinds: dict[str, str | None] = {}
    for name, kind in found:
        kinds[name] = kind if kinds.get(name, kind) == kind else None
    return kinds


def _assignments(node: ast.AST) -> Iterator[tuple[ast.AST, str | None]]:
    """Yield the targets that a node assigns to, with the type of the value."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, (ast.Tuple, ast.List)):
                for inner in ast.walk(target):
                    yield inner, None
            else:
                yield target, _value_type(node.value)
    elif isinstance(node, ast.AnnAssign):
        yield node.target, _annotated_type(node.annotation)
    elif isinstance(node, ast.NamedExpr):
        yield node.target, _value_type(node.value)
    elif isinstance(node, (ast.For, ast.AsyncFor, ast.comprehension)):
        for inner in ast.walk(node.target):
            yield inner, None
    elif isinstance(node, ast.withitem) and node.optional_vars is not None:
        for inner in ast.walk(node.optional_vars):
            yield inner, None


def _own_scope(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Walk nodes without the functions and classes inside them."""
    for node in nodes:
        if not isinstance(node, Definition | ast.Lambda):
            yield node
            yield from _own_scope(ast.iter_child_nodes(node))


def _value_type(node: ast.expr | None) -> str | None:
    if isinstance(node, ast.Constant):
        kind = type(node.value).__name__
    elif isinstance(node, ast.JoinedStr):
        kind = "str"
    elif isinstance(node, (ast.List, ast.Tuple, ast.Dict, ast.Set)):
        kind = type(node).__name__.lower()
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        kind = node.func.id
    else:
        kind = ""
    return kind if kind in INFERRED else None


def _annotated_type(node: ast.expr | None) -> str | None:
    """Return `bytearray` for the annotations bytearray, "bytearray" and alike."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        text = node.value
    else:
        text = ast.unparse(node) if node is not None else ""
    kind = text.partition("[")[0]
    return kind if kind in INFERRED and "|" not in text else None


def _called(node: ast.AST | None) -> str:
    """Return the last name of a called function: `sleep` for `asyncio.sleep(1)`."""
    if not isinstance(node, ast.Call):
        return ""
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def _receiver(node: ast.Call) -> ast.expr | None:
    return node.func.value if isinstance(node.func, ast.Attribute) else None


def _text(node: ast.AST | None) -> str:
    """Return the text of a string constant, else nothing."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _is_type(node: ast.expr) -> bool:
    return (isinstance(node, ast.Name) and node.id in TYPE_NAMES
            or isinstance(node, ast.Constant) and node.value is None)


def _is_view(node: ast.AST | None) -> bool:
    return (isinstance(node, ast.Call) and not node.args
            and _called(node) in ("keys", "values", "items"))


def _is_type_checking(node: ast.expr) -> bool:
    return (isinstance(node, ast.Name) and node.id == "TYPE_CHECKING"
            or isinstance(node, ast.Attribute) and node.attr == "TYPE_CHECKING")


def _catches_import_error(handler: ast.ExceptHandler) -> bool:
    return isinstance(handler.type, ast.Name) and handler.type.id == "ImportError"
