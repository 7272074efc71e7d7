"""What tools/bundles.py makes of classes and arguments: the same to those who use them."""

import ast
from typing import Any

from bundle_fold import fold, prune
from bundle_names import most_used_first, rename_arguments
from bundles import Bundles, Rewrite
from packages import files

CLASS = """
class Client:
    __slots__ = ("name", "held", "rest", "seen")

    def __init__(self, name):
        self.name = name
        self.held = 0
        self.rest: "Optional[bytes]" = None
        self.seen = []
        if name:
            self.held = 3
"""
FUNCTIONS = """
class Public:
    def first(self, pattern):
        return pattern

class Inner:
    def second(self, pattern, chunks, named=1):
        return [chunks + named for _ in range(pattern)]

def third(chunks, Inner):
    def inside(x):
        return x + chunks
    return inside(1) + Inner

def fourth(value):
    return value.chunk
"""


def run(body):
    space: dict[str, Any] = {}
    exec(ast.unparse(ast.fix_missing_locations(ast.Module(body, []))), space)
    return space


def arguments(body, name):
    for node in ast.walk(ast.Module(body, [])):
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return [arg.arg for arg in node.args.args]
    raise KeyError(name)


def test_what_instances_begin_with_stands_in_the_class():
    tree = Rewrite("m", {"m": {}}, {}, ast.Constant("1")).whole(ast.parse(CLASS))
    made = run(tree.body)["Client"]
    assert vars(made("")) == {"name": "", "seen": []}
    assert (made("").held, made("").rest, made("a").held) == (0, None, 3)
    assert made("").seen is not made("").seen


def test_arguments_that_nobody_names_share_the_names_there_are():
    body = ast.parse(FUNCTIONS).body
    rename_arguments(body, {"named"}, {"Public"})
    space = run(body)
    assert space["Inner"]().second(2, 3, named=4) == [7, 7]
    assert space["third"](1, 2) == 4
    assert arguments(body, "first") == ["self", "pattern"]
    assert "chunks" not in arguments(body, "second") + arguments(body, "third")
    assert arguments(body, "second")[-1] == "named"


def test_a_file_begins_with_its_most_used_names():
    texts = Bundles(files()).texts
    assert texts["port/broker.py"].startswith("if not __name__:\n    self.")
    assert texts["port/mqtt5.py"].startswith("from ")
    body = ast.parse("def a(b):\n    return b").body
    assert most_used_first(body) == []


def test_what_is_set_together_stays_with_the_instance():
    text = CLASS.replace("self.held = 0", "self.held = self.more = 0")
    made = run(Rewrite("m", {"m": {}}, {}, ast.Constant("1")).whole(ast.parse(text)).body)["Client"]
    assert vars(made("")) == {"name": "", "seen": [], "held": 0, "more": 0}


FOLDED = """
class Keeper:
    def keep(self, session, journal, name):
        if journal is not None and name:
            journal.put(name)
        serial = 0 if self.journal is None else self.journal.serial
        if session.take() and self.journal is not None:
            self._write(name)
        if self.journal is None or self.journal.ready:
            return serial + 1
        return -1

    def _write(self, name):
        return self.journal.put(name)

    def drop(self, entry):
        if self.journal is not None:
            self.journal.removed(entry)

    def clear(self, queue):
        self.drop(queue[0])
        while queue:
            self.drop(queue.pop())
        return queue

def other(journals):
    found = []
    for journal in journals:
        found.append(journal)
    return found

def ready(keeper):
    try:
        from port.core.storage.journal import Journal
    except ImportError:
        return False
    return Journal is not None

def ask(keeper):
    return 1 if ready(keeper) else 2

def need():
    from port.core.storage.journal import Journal
    return Journal()
"""


def test_what_a_package_lacks_is_not_compiled():
    trees = {"m": ast.parse(FOLDED)}
    fold(trees, ["store"], {"port.core.storage.journal"})
    prune(trees, {"other", "ask", "need", "Keeper"})
    text = ast.unparse(trees["m"])
    assert "put" not in text and "_write" not in text and "ready" not in text
    assert "session.take()" in text  # what does something is done
    space = run(trees["m"].body)
    session = type("Session", (), {"take": lambda self: True})()
    assert space["Keeper"]().keep(session, None, b"a") == 1
    assert space["Keeper"]().clear([1, 2]) == [] and text.count("self.drop(") == 1
    assert space["other"]([1, 2]) == [1, 2]  # another variable of the name
    assert space["ask"](None) == 2
    assert ast.unparse(trees["m"].body[-1]) == "def need():\n    from port.core.storage.journal import Journal"


def test_a_package_with_all_is_left_as_it_is():
    texts = Bundles(files()).texts
    assert "journal" in texts["port/broker.py"]
    assert "def make_record(" in "".join(texts.values())  # programs may call it, nothing of the broker does
    assert "rows" not in texts["port/broker.py"].split("class Server")[0]  # what boards never have
    assert "journal" not in Bundles(files("small")).texts["port/broker.py"].split("class Server")[0].split("import hexlify")[1]
