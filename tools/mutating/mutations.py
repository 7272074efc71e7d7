"""Small changes of a module's meaning, each an edit of its source text in place, for tools/mutants.

A comparison turned, a condition negated, `and` for `or`, a `not` removed, an integer off by one, True for False, another
operator, the least for the greatest, `break` for `continue`; a call, an assignment or a `raise` left out; None returned.
Text is not changed, nor annotations, decorators, `if TYPE_CHECKING`, `__repr__`, nor the arguments of a line of the log.
Assignments without which a name would be unknown stay: every test notices those.
"""

import ast
import re
from collections.abc import Iterator
from typing import NamedTuple

COMPARISONS: dict[type[ast.cmpop], tuple[bytes, tuple[bytes, ...]]] = {
    ast.Lt: (b"<", (b"<=", b">=")), ast.LtE: (b"<=", (b"<", b">")),
    ast.Gt: (b">", (b">=", b"<=")), ast.GtE: (b">=", (b">", b"<")),
    ast.Eq: (b"==", (b"!=",)), ast.NotEq: (b"!=", (b"==",)), ast.Is: (b"is", (b"is not",)), ast.IsNot: (b"is not", (b"is",)),
    ast.In: (b"in", (b"not in",)), ast.NotIn: (b"not in", (b"in",)),
}  # fmt: skip
OPERATORS: dict[type[ast.operator], tuple[bytes, bytes]] = {
    ast.Add: (b"+", b"-"), ast.Sub: (b"-", b"+"), ast.Mult: (b"*", b"//"), ast.FloorDiv: (b"//", b"*"), ast.Mod: (b"%", b"//"),
    ast.LShift: (b"<<", b">>"), ast.RShift: (b">>", b"<<"),
    ast.BitAnd: (b"&", b"|"), ast.BitOr: (b"|", b"&"), ast.BitXor: (b"^", b"&"),
}  # fmt: skip
OTHERS = {"min": b"max", "max": b"min"}
QUIET = ("log", "line")  # Broker.log, ClientLog.line
UNSEEN = ("__repr__", "__str__")


class Mutation(NamedTuple):
    """One edit: the bytes from `start` to `end` of a source, `old`, become `new`.

    kind  what is changed, in a word
    line  counted from 1
    span  first and last line of the statement, of whose heading alone where it has a body: a test that sees the change runs one
    scope first and last line of the function around it, (0, 0) outside of functions
    """

    kind: str
    line: int
    start: int
    end: int
    old: str
    new: str
    span: tuple[int, int]
    scope: tuple[int, int]

    def edit(self, source: bytes) -> bytes:
        return source[: self.start] + self.new.encode() + source[self.end :]


def mutations(source: bytes) -> list[Mutation]:
    """All mutations of a module's source, in the order of its text."""
    finder = _Finder(source)
    finder.visit(ast.parse(source))
    return sorted(set(finder.found), key=lambda mutation: (mutation.start, mutation.end, mutation.new))


class _Finder(ast.NodeVisitor):
    """Walks a module's tree; what it finds is in `found`."""

    def __init__(self, source: bytes) -> None:
        self.found: list[Mutation] = []
        self._source = source
        self._starts = [0]  # of each line
        for line in source.split(b"\n"):
            self._starts.append(self._starts[-1] + len(line) + 1)
        self._span = self._scope = (0, 0)
        self._function: ast.FunctionDef | ast.AsyncFunctionDef | None = None
        self._bound: dict[str, int] = {}  # names of the function, how many times each is bound

    def visit(self, node: ast.AST) -> None:
        if not isinstance(node, ast.stmt):
            super().visit(node)
            return
        before = self._span
        self._span = (node.lineno, _last_line_of_heading(node))
        self._statement(node)
        super().visit(node)
        self._span = before

    # -- what is passed over -------------------------------------------------------------

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        if node.name in UNSEEN:
            return
        before = self._function, self._bound, self._scope
        for default in (*node.args.defaults, *node.args.kw_defaults):
            if default is not None:
                self._scope = (node.body[0].lineno, node.end_lineno or 0)
                self.visit(default)
        self._function, self._bound, self._scope = node, _bound(node), (node.body[0].lineno, node.end_lineno or 0)
        for statement in node.body:
            self.visit(statement)
        self._function, self._bound, self._scope = before

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for statement in node.body:
            self.visit(statement)

    def visit_If(self, node: ast.If) -> None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for statement in node.orelse:
                self.visit(statement)
            return
        self._condition(node.test)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        if isinstance(node.targets[0], ast.Name) and node.targets[0].id == "TYPE_CHECKING":
            return
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    # -- statements ----------------------------------------------------------------------

    def _statement(self, node: ast.stmt) -> None:
        if self._function is None:
            return
        if isinstance(node, ast.Expr) and isinstance(node.value, (ast.Call, ast.Await)):
            self._replace("call", node, b"pass")
        elif isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if all(self._has_value_without(node, target) for target in targets) and node.value is not None:
                self._replace("assignment", node, b"pass")
        elif isinstance(node, ast.Raise):
            self._replace("raise", node, b"pass")
        elif isinstance(node, ast.Return) and not (node.value is None or isinstance(node.value, ast.Constant)):
            self._replace("return value", node.value, b"None")
        elif isinstance(node, (ast.Break, ast.Continue)):
            self._replace("loop", node, b"continue" if isinstance(node, ast.Break) else b"break")

    def _has_value_without(self, node: ast.stmt, target: ast.expr) -> bool:
        """True where the target may have had a value before the assignment."""
        if isinstance(node, ast.AugAssign):
            return True
        if isinstance(target, ast.Name):
            return self._bound.get(target.id, 0) > 1
        if isinstance(target, ast.Attribute):
            return self._function is not None and self._function.name != "__init__"
        return isinstance(target, ast.Subscript)

    # -- expressions ---------------------------------------------------------------------

    def visit_Compare(self, node: ast.Compare) -> None:
        left = node.left
        for operator, right in zip(node.ops, node.comparators):
            old, others = COMPARISONS[type(operator)]
            for new in others:
                self._between("comparison", left, right, old, new)
            left = right
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        old, new = (b"and", b"or") if isinstance(node.op, ast.And) else (b"or", b"and")
        for left, right in zip(node.values, node.values[1:]):
            self._between("boolean operator", left, right, old, new)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            start = self._at(node.lineno, node.col_offset)
            word = re.sub(rb"\Anot\s*", b"", self._text(node))
            self._add("not", node.lineno, start, start + len(self._text(node)) - len(word), b"")
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if type(node.op) in OPERATORS and not _is_text(node.left) and not _is_text(node.right):
            old, new = OPERATORS[type(node.op)]
            self._between("operator", node.left, node.right, old, new)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if type(node.op) in OPERATORS and not _is_text(node.value):
            old, new = OPERATORS[type(node.op)]
            self._between("operator", node.target, node.value, old + b"=", new + b"=")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self._replace("constant", node, b"False" if value else b"True")
        elif isinstance(value, int):
            form = "0x%x" if self._text(node).startswith(b"0x") else "%d"
            self._replace("constant", node, (form % (value + 1)).encode())
            if value:
                self._replace("constant", node, (form % (value - 1)).encode())

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute) and node.func.attr in QUIET:
            return
        if isinstance(node.func, ast.Name) and node.func.id in OTHERS:
            self._replace("call", node.func, OTHERS[node.func.id])
        self.generic_visit(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Text, and before Python 3.12 the positions in it are wrong."""

    def visit_While(self, node: ast.While) -> None:
        self._condition(node.test)
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._condition(node.test)
        self.generic_visit(node)

    def _condition(self, node: ast.expr) -> None:
        """Negate a condition in which nothing else can be turned."""
        if isinstance(node, (ast.Name, ast.Attribute, ast.Call, ast.Subscript)):
            self._replace("condition", node, b"not " + self._text(node))

    # -- text ----------------------------------------------------------------------------

    def _at(self, line: int, column: int) -> int:
        return self._starts[line - 1] + column

    def _bounds(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        return self._at(node.lineno, node.col_offset), self._at(node.end_lineno or 0, node.end_col_offset or 0)

    def _text(self, node: ast.expr | ast.stmt) -> bytes:
        start, end = self._bounds(node)
        return self._source[start:end]

    def _replace(self, kind: str, node: ast.expr | ast.stmt, new: bytes) -> None:
        self._add(kind, node.lineno, *self._bounds(node), new)

    def _between(self, kind: str, left: ast.expr, right: ast.expr, old: bytes, new: bytes) -> None:
        """Replace the operator between two operands; parentheses and comments may stand there, too."""
        start, end = self._bounds(left)[1], self._bounds(right)[0]
        blank = re.sub(rb"#[^\n]*", lambda match: b" " * len(match[0]), self._source[start:end])
        match = re.search(rb"\s+".join(map(re.escape, old.split())), blank)
        if match is None:
            raise ValueError(f"line {left.end_lineno}: no {old.decode()} in {blank.decode()!r}")
        line = (left.end_lineno or 0) + blank[: match.start()].count(b"\n")
        self._add(kind, line, start + match.start(), start + match.end(), new)

    def _add(self, kind: str, line: int, start: int, end: int, new: bytes) -> None:
        old = self._source[start:end]
        self.found.append(Mutation(kind, line, start, end, old.decode(), new.decode(), self._span, self._scope))


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes))


def _last_line_of_heading(node: ast.stmt) -> int:
    """The last line of a statement, not counting the statements in it."""
    inner = [child for _, child in ast.iter_fields(node) if isinstance(child, ast.expr)]
    items = [item.context_expr for item in node.items] if isinstance(node, (ast.With, ast.AsyncWith)) else []
    if hasattr(node, "body"):
        return max([node.lineno, *(child.end_lineno or 0 for child in [*inner, *items])])
    return node.end_lineno or node.lineno


def _bound(function: ast.FunctionDef | ast.AsyncFunctionDef) -> dict[str, int]:
    """The names a function binds, and how many times; a name that is not its own has a value anyway."""
    count: dict[str, int] = {}
    nodes = list(ast.walk(function))
    names: Iterator[str] = (node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    arguments = (node.arg for node in nodes if isinstance(node, ast.arg))
    foreign = (name for node in nodes if isinstance(node, (ast.Global, ast.Nonlocal)) for name in node.names)
    for name in (*names, *arguments, *foreign):
        count[name] = count.get(name, 0) + 1
    return count
