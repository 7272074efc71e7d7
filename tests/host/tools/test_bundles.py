"""What tools/bundling/bundles.py makes of classes and arguments: the same to those who use them."""

import ast
import os
import subprocess
from typing import Any

from bundling.bundles import Bundles, Rewrite
from bundling.names import most_used_first, rename_arguments
from bundling.packages import files
from toolchain import ROOT

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


def test_a_package_with_all_is_left_as_it_is():
    texts = Bundles(files()).texts
    assert "journal" in texts["port/broker.py"]
    assert "def make_record(" in "".join(texts.values())  # programs may call it, nothing of the broker does


def test_what_code_says_does_not_depend_on_the_package():
    """A package lacks files; those it has are compiled as they are in any other."""
    names = set(files("without-store")) & set(files())
    texts, others = Bundles(files()).texts, Bundles(files("without-store")).texts
    for name in ("port/mqtt5.py", "port/web.py", "port/core/acl/acl.py"):
        assert texts[name] == others[name]
    assert "journal" in others["port/broker.py"] and len(names) > 60


PUBLIC = """
from port.micropython import Authenticator, Batch, FilterWatcher, FlashStore, ListenerType, LocalClient, Message, Options, Server
from port.micropython import HTTPError, Query, Response, Store, Watcher, listed, read_config, run, serve_stream, stored_file
assert issubclass(FlashStore, Store) and issubclass(FilterWatcher, Watcher)
try:
    from port.micropython import Stores
except (ImportError, AttributeError):
    print("done")
"""


def test_public_names_are_there_in_what_a_board_gets(tool, tmp_path):
    Bundles(files()).write(tmp_path)
    stubs = ROOT / "tests" / "support" / "board_stubs"
    environment = {**os.environ, "MICROPYPATH": f".frozen:{stubs}"}
    command = [tool("micropython"), "-c", PUBLIC]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout == "done\n", done.stdout + done.stderr
