"""tools/mutants: what it changes in a source, the same sample for the same seed, and what it says of tests that do not notice."""

import subprocess

import pytest

from mutating.mutations import mutations
from toolchain import ROOT

TOY = '''"""A module: 1 < 2."""

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Optional


def least(a: "Optional[int]", b: int) -> int:
    """The least of 2."""
    return a if a < b else b


def unseen(a: int) -> int:
    return a + 1
'''
TEST = """
from port.core.toy import least


def test_least():
    assert [least(a, 3) for a in (2, 4)] == [2, 3]
"""


def changes(source):
    """What becomes of each line, as old and new text."""
    return [(mutation.old, mutation.new) for mutation in mutations(source.encode())]


@pytest.mark.parametrize(("source", "expected"), [
    ("x = a < b", [("<", "<="), ("<", ">=")]),
    ("x = (a) not  in (b)", [("not  in", "in")]),
    ("x = a is (  # or\n  b)", [("is", "is not")]),
    ("x = a and b or not c", [("and", "or"), ("or", "and"), ("not ", "")]),
    ("x = 0x10", [("0x10", "0x11"), ("0x10", "0xf")]),
    ("x = True", [("True", "False")]),
    ("x = 'ä' + a + b", [("+", "-")]),
    ("x += f'{a + 1}'", []),
    ("x = max(a, b)", [("max", "min")]),
    ("if x:\n  pass\nelif not x:\n  pass", [("x", "not x"), ("not ", "")]),
    ("def f():\n  g()\n  raise h", [("g()", "pass"), ("raise h", "pass")]),
    ("def f(a):\n  a = b\n  c = d\n  return c", [("a = b", "pass"), ("c", "None")]),  # without c = d there would be no c
    ("def f(self):\n  self.a = b", [("self.a = b", "pass")]),
    ("def __init__(self):\n  self.a = b", []),
    ("for x in y:\n  break", []),
    ("def f():\n  for x in y:\n    continue", [("continue", "break")]),
    # What no test is to notice.
    ("def f(a: 'list[1]' = None) -> 'g[1]':\n  'text 1'", []),
    ("def f():\n  log.line(2, 'text', a + 1)", [("log.line(2, 'text', a + 1)", "pass")]),
    ("def __repr__(self):\n  return a + 1", []),
    ("if TYPE_CHECKING:\n  x = 1\nelse:\n  x = 2", [("2", "1"), ("2", "3")]),
])  # fmt: skip
def test_changes(source, expected):
    assert changes(source) == expected
    for mutation in mutations(source.encode()):
        compile(mutation.edit(source.encode()), "mutant", "exec")


def test_an_edit_leaves_the_rest_as_it_is():
    mutation = mutations(TOY.encode())[1]
    assert mutation.edit(TOY.encode()).decode() == TOY.replace("if a < b", "if a <= b") and mutation.line == 10


@pytest.fixture
def toy(tmp_path):
    """Runs the tool on a checkout with a small module and its test; its status and what it printed."""
    for name, text in (
        ("port/__init__.py", ""), ("port/core/__init__.py", ""), ("port/core/toy.py", TOY.replace("const(0)", "0")),
        ("tests/core/test_toy.py", TEST), ("pyproject.toml", CONFIGURATION),
    ):  # fmt: skip
        path = tmp_path / "checkout" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run(*arguments):
        command = [ROOT / "tools" / "mutants", "--checkout", tmp_path / "checkout", "--scratch", tmp_path / "scratch", *arguments]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.returncode, done.stdout

    return run


CONFIGURATION = """
[tool.pytest.ini_options]
addopts = "--import-mode=importlib"
pythonpath = ["."]
"""


def test_the_same_sample_for_a_seed(toy):
    samples = [toy("--list", "--count", "3", "--seed", seed) for seed in "112"]
    assert samples[0] == samples[1] != samples[2]
    assert [status for status, _ in samples] == [0, 0, 0]
    assert samples[0][1].count("port/core/toy.py:") == 3
    assert toy("--list", "--at", "toy.py:10")[1].count("toy.py:10:") == 3
    assert toy("--list", "--module", "other") == (0, "")


def test_found_and_lived(toy):
    status, printed = toy()
    assert status == 1, printed
    lived = printed.partition("\n\n")[2]
    # Where both are the same it does not matter which is the least; nobody tests the other function.
    assert lived.splitlines() == [
        "lived: port/core/toy.py:10: comparison", "  - return a if a < b else b", "  + return a if a <= b else b",
        "unreached: port/core/toy.py:14: return value", "  - return a + 1", "  + return None",
        "unreached: port/core/toy.py:14: operator", "  - return a + 1", "  + return a - 1",
        "unreached: port/core/toy.py:14: constant", "  - return a + 1", "  + return a + 0",
        "unreached: port/core/toy.py:14: constant", "  - return a + 1", "  + return a + 2",
        "7 mutations, 2 found, 5 lived: 28.6 %",
    ]  # fmt: skip
    assert "found tests/core/test_toy.py::test_least" in printed
    # What was found is not tried again.
    assert "measuring" not in toy("--at", "toy.py:10")[1]


def test_tests_that_fail_anyway(toy, tmp_path):
    (tmp_path / "checkout/tests/core/test_toy.py").write_text("def test_broken():\n    assert 1 == 2\n")
    status, printed = toy()
    assert status == 2
    assert "the tests fail without a mutation" in printed
