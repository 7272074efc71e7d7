"""The names in a bundle: a file keeps each one once, and so does the memory of a board that loads it."""

from __future__ import annotations

import ast
import builtins
from collections import Counter
from collections.abc import Iterable, Iterator

_ONE_BYTE = 128  # names that bytecode refers to by one byte
_OTHERS = 10  # of these, that are not ours to choose


def defined(node: ast.stmt) -> list[str]:
    """The names that a statement of a module defines."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]


def keywords(trees: Iterable[ast.Module]) -> set[str]:
    """The names by which arguments are passed somewhere."""
    return {node.arg for tree in trees for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg}


def rename_arguments(body: list[ast.stmt], used: set[str], public: set[str]) -> None:
    """Give arguments whose name is nothing else's the name of something else, so that theirs need not be kept.

    `used`: names by which arguments are passed; `public`: top-level functions and classes that programs call as they like.
    """
    functions = [function for node in body if not public.intersection(defined(node)) for function in _functions(node)]
    arguments = {arg for function in functions for arg in function.args.args}
    kept = set(used)
    for node in (node for statement in body for node in ast.walk(statement)):
        if isinstance(node, ast.arg) and node not in arguments:
            kept.add(node.arg)
        elif isinstance(node, ast.Attribute):
            kept.add(node.attr)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler)) and node.name:
            kept.add(node.name)
    common = [name for name, _ in _uses(body).most_common(_ONE_BYTE) if name in kept]
    for function in functions:
        inside = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
        inside.update(node.arg for node in ast.walk(function) if isinstance(node, ast.arg))
        others = iter([name for name in common if name not in inside and name != "self"])
        new = {arg.arg: next(others) for arg in function.args.args if arg.arg not in kept}
        for node in ast.walk(function):
            if isinstance(node, ast.arg):
                node.arg = new.get(node.arg, node.arg)
            elif isinstance(node, ast.Name):
                node.id = new.get(node.id, node.id)


def _functions(node: ast.stmt) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """A function, or those of a class."""
    for function in node.body if isinstance(node, ast.ClassDef) else (node,):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield function


def most_used_first(body: list[ast.stmt]) -> list[ast.stmt]:
    """A statement that is never executed, with the names that are used most: the compiler numbers them in the order in which
    they come, and the first 128 take one byte in the code and not two."""
    found = _uses(body)
    if len(found) <= _ONE_BYTE:
        return []
    return ast.parse("if not __name__:\n    " + ".".join(name for name, _ in found.most_common(_ONE_BYTE - _OTHERS))).body


def _uses(body: list[ast.stmt]) -> Counter[str]:
    """How often the code refers to each name."""
    tree = ast.Module(body, [])
    own = {name for node in body for name in defined(node)} | set(dir(builtins))
    found = Counter(node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    found.update(node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in own)
    found.update(node.arg for node in ast.walk(tree) if isinstance(node, ast.arg))
    return found
