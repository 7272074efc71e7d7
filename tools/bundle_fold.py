"""What a package lacks is not compiled either: conditions that nothing can fulfil there, and what is then called by nobody.

The modules ask for an absent part by the values it would have set, as in `if self.journal is not None`. A package without
the part has one value for it, and the code for the others is left away. What asks for the part still names it in an
ImportError.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable
from typing import Any

from bundle_names import defined

# Part -> attributes, or what a method of that name returns, that have one value without it.
_ATTRIBUTES: dict[str, dict[str, Any]] = {
    "store": {"journal": None, "number": 0, "promised": 0, "durable": 0},
    "mqtt5": {"mqtt5": None, "version5": False, "aliases": None, "alias_maximum": 0},
    "web": {"measures": None, "metrics": None, "earlier": None},
    "config": {"overrides": None, "seat": None},
    "access": {"access": None, "judged": None},
    "extras": {"hooks": None, "message_hooks": False, "tell": None, "clients": None, "rate": None, "group": None, "groups": ()},
}
# What no board has: MicroPython cannot slice bytes in steps.
_NEVER: dict[str, Any] = {"rows": None}
# Variables, and the attribute they hold.
_VARIABLES = {name: name for name in ("journal", "durable", "mqtt5", "version5", "aliases", "access", "rate", "rows", "group", "measures")}
_VARIABLES["refused"] = "tell"


_BLOCKS = (ast.If, ast.For, ast.Try, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Fold(ast.NodeTransformer):
    """Puts the values of absent parts in, and follows what comes of it."""

    def __init__(self, absent: Iterable[str], modules: Iterable[str], known: dict[str, Any] | None = None) -> None:
        """`modules`: those that are absent; `known`: what functions return that have come down to one value."""
        self._absent = set(absent)
        self._modules = set(modules)
        self._values = dict(_NEVER)
        for part in self._absent:
            self._values.update(_ATTRIBUTES.get(part, {}))
        self._known = known or {}
        self._variables: dict[str, Any] = {}  # in the function that is being visited

    def tree(self, tree: ast.Module) -> ast.Module:
        """The module as the package has it; the one given is changed."""
        folded: ast.Module = self.visit(tree)
        for node in ast.walk(folded):
            for name in ("body", "orelse", "finalbody"):
                lines = getattr(node, name, None)
                if isinstance(lines, list):
                    setattr(node, name, self._reached(lines))
            if isinstance(node, _BLOCKS) and not node.body:
                node.body = [ast.Pass()]
        return folded

    def _reached(self, lines: list[ast.stmt]) -> list[ast.stmt]:
        """Without what comes after the end."""
        for i, line in enumerate(lines):
            if isinstance(line, (ast.Return, ast.Raise, ast.Continue, ast.Break)) or self._missing(line):
                return lines[:i + 1]
        return lines

    def _missing(self, line: ast.stmt) -> bool:
        """Whether it imports what is not there."""
        if isinstance(line, ast.ImportFrom):
            return line.module in self._modules
        return isinstance(line, ast.Import) and line.names[0].name in self._modules

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        outside = self._variables
        self._variables = {name: self._values[value] for name, value in _VARIABLES.items() if value in self._values}
        for name in list(self._variables):  # one that has another value once is another variable
            if not all(self._is_known(line, name) for line in ast.walk(node)):
                self._variables.pop(name, None)
        self.generic_visit(node)
        self._variables = outside
        return node

    def _is_known(self, line: ast.AST, name: str) -> bool:
        if isinstance(line, (ast.Assign, ast.AnnAssign)) and line.value is not None:
            targets = line.targets if isinstance(line, ast.Assign) else [line.target]
            if len(targets) == 1 and isinstance(targets[0], ast.Name):
                value = self.visit(ast.parse(ast.unparse(line.value), mode="eval").body) if targets[0].id == name else None
                return value is None or isinstance(value, ast.Constant)
            return not any(isinstance(part, ast.Name) and part.id == name for target in targets for part in ast.walk(target))
        target = getattr(line, "target", None)
        return target is None or not any(isinstance(part, ast.Name) and part.id == name for part in ast.walk(target))

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.ctx, ast.Load) and node.attr in self._values:
            return ast.Constant(self._values[node.attr])
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if isinstance(node.ctx, ast.Load) and node.id in self._variables:
            return ast.Constant(self._variables[node.id])
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        self.generic_visit(node)
        return None if len(node.targets) == 1 and self._said(node.targets[0], node.value) else node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        self.generic_visit(node)
        return None if self._said(node.target, node.value) else node

    def _said(self, target: ast.expr, value: ast.expr | None) -> bool:
        """Whether an assignment says what is known, and each use has the value in its place already."""
        if not isinstance(value, ast.Constant):
            return False
        return (isinstance(target, ast.Name) and target.id in self._variables
                or isinstance(target, ast.Attribute) and target.attr in self._values)

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        left, right, how = node.left, node.comparators[0], node.ops[0]
        if len(node.ops) != 1 or not isinstance(right, ast.Constant):
            return node
        if "mqtt5" in self._absent and right.value == 5 and ast.unparse(left).split(".")[-1] == "version":
            return ast.Constant(isinstance(how, ast.NotEq))
        if isinstance(left, ast.Constant):
            results = {ast.Is: left.value is right.value, ast.IsNot: left.value is not right.value,
                       ast.Eq: left.value == right.value, ast.NotEq: left.value != right.value}
            if isinstance(left.value, int) and isinstance(right.value, int):
                results[ast.Gt] = left.value > right.value
            if type(how) in results:
                return ast.Constant(results[type(how)])
        return node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.op, ast.Not):
            node.operand = _condition(node.operand)
        if isinstance(node.op, ast.Not) and isinstance(node.operand, ast.Constant):
            return ast.Constant(not node.operand.value)
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        """Up to the first value that decides; those before that do not are left away."""
        self.generic_visit(node)
        deciding = isinstance(node.op, ast.Or)
        values: list[ast.expr] = []
        for value in node.values:
            if isinstance(value, ast.Constant) and bool(value.value) is not deciding and value is not node.values[-1]:
                continue
            values.append(value)
            if isinstance(value, ast.Constant) and bool(value.value) is deciding:
                break
        return values[0] if len(values) == 1 else ast.BoolOp(node.op, values)

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        self.generic_visit(node)
        node.test = _condition(node.test)
        if isinstance(node.test, ast.Constant):
            return node.body if node.test.value else node.orelse
        return node

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        node.test = _condition(self.visit(node.test))
        if isinstance(node.test, ast.Constant):
            return self._lines(node.body if node.test.value else node.orelse)
        if isinstance(node.test, ast.BoolOp) and not node.orelse and len(node.test.values) == 2:
            first, last = node.test.values
            if isinstance(node.test.op, ast.And) and isinstance(last, ast.Constant) and not last.value:
                return [ast.Expr(first)]  # it is done, whatever it says
        self.generic_visit(node)
        if not node.orelse and all(isinstance(line, ast.Pass) for line in node.body) and _pure(node.test):
            return []
        return node

    def visit_Try(self, node: ast.Try) -> ast.AST | list[ast.stmt]:
        if self._missing(node.body[0]) and "ImportError" in ast.unparse(node.handlers[0].type or ast.Constant(None)):
            return self._lines(node.handlers[0].body)
        self.generic_visit(node)
        return node

    def _lines(self, lines: list[ast.stmt]) -> list[ast.stmt]:
        found: list[ast.stmt] = []
        for line in lines:
            new = self.visit(line)
            found += new if isinstance(new, list) else [new] if new is not None else []
        return found

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        self.generic_visit(node)
        return None if isinstance(node.value, ast.Constant) else node

    def visit_For(self, node: ast.For) -> ast.AST | None:
        self.generic_visit(node)
        if isinstance(node.iter, ast.Constant) and not node.iter.value and not node.orelse:
            return None
        if not node.body and not node.orelse:
            return None if _pure(node.iter) else ast.Expr(node.iter)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = ast.unparse(node.func).split(".")[-1]
        if all(_pure(argument) for argument in node.args):
            if name in self._values and isinstance(node.func, ast.Attribute):
                return ast.Constant(self._values[name])
            if name in self._known:
                return ast.Constant(self._known[name])
        if name == "MQTTError" and len(node.args) == 2 and "extras" in self._absent:
            node.args.pop()  # the log then has the reason code alone
        return self.generic_visit(node)


def _pure(node: ast.expr) -> bool:
    return not any(isinstance(part, (ast.Call, ast.Await)) for part in ast.walk(node))


def _condition(test: ast.expr) -> ast.expr:
    """A condition without what does not decide it."""
    if isinstance(test, ast.BoolOp):
        last = test.values[-1]
        if isinstance(last, ast.Constant):
            if bool(last.value) is isinstance(test.op, ast.Or):
                return last if all(_pure(value) for value in test.values) else test
            values = test.values[:-1]
            return _condition(values[0] if len(values) == 1 else ast.BoolOp(test.op, values))
    return test


def fold(trees: dict[str, ast.Module], absent: Iterable[str], modules: Iterable[str]) -> None:
    """Change a package's modules to what they are without these parts and their modules."""
    found = dict(_single(trees))
    known: dict[str, Any] = {}
    while True:
        for module in trees:
            trees[module] = Fold(absent, modules, known).tree(trees[module])
        new = {name: value for name, value in _single(trees) if name not in found}
        if new.keys() == known.keys():
            break
        known = new


def _single(trees: dict[str, ast.Module]) -> Iterable[tuple[str, Any]]:
    """The functions that do nothing, or nothing but return a value, and have a name of their own."""
    functions = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    names = Counter(function.name for function in functions)
    for function in functions:
        line = function.body[0]
        if len(function.body) > 1 or names[function.name] > 1:
            continue
        if isinstance(line, ast.Pass):
            yield function.name, None
        elif isinstance(line, ast.Return) and isinstance(line.value, ast.Constant):
            yield function.name, line.value.value


def prune(trees: dict[str, ast.Module], kept: set[str]) -> None:
    """Take away the functions, and methods of classes that inherit nothing from elsewhere, whose name nobody mentions.

    `kept`: classes and functions that programs use, with all they have.
    """
    while True:
        mentioned = {name for tree in trees.values() for name in _mentioned(tree)}
        before = sum(1 for tree in trees.values() for _ in ast.walk(tree))
        for tree in trees.values():
            tree.body = [node for node in tree.body if not _unused(node, mentioned, kept)]
            for node in tree.body:
                if isinstance(node, ast.ClassDef) and (node.name in kept or not node.bases):
                    public = {name for line in node.body for name in defined(line) if name[0] != "_" and node.name in kept}
                    node.body = [line for line in node.body if not _unused(line, mentioned, public)] or [ast.Pass()]
        if before == sum(1 for tree in trees.values() for _ in ast.walk(tree)):
            return


def _mentioned(tree: ast.Module) -> Iterable[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.alias):
            yield node.name


def _unused(node: ast.stmt, mentioned: set[str], kept: set[str]) -> bool:
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return False
    name = defined(node)[0]
    return not name.startswith("__") and name not in mentioned and name not in kept
