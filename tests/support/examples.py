"""The blocks of code of the README.md files and CONTRIBUTING.md, each to be named by what runs it.

    GREETINGS = example("README.md", "mosquitto_pub -t greetings")    # the one block of that file with these words in it
    unnamed()                                                          # those that nobody has named
"""

import re
from typing import NamedTuple

from toolchain import ROOT

FILES = ("README.md", "CONTRIBUTING.md", "tools/README.md",
         *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("port/**/README.md")),
         *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("boards/**/README.md")))


class Example(NamedTuple):
    """A block: where it stands, its language as it is given, its lines."""

    file: str
    number: int
    language: str
    text: str

    @property
    def lines(self) -> "list[str]":
        """Those that are no comments alone."""
        return [line for line in self.text.splitlines() if line.strip() and not line.startswith("#")]


_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_all = [
    Example(file, number, *found.groups())
    for file in FILES for number, found in enumerate(_BLOCK.finditer((ROOT / file).read_text(encoding="utf-8")))
]  # fmt: skip
_named: "set[tuple[str, int]]" = set()


def example(file: str, words: str) -> Example:
    """The one block of a file that has these words in it."""
    found = [block for block in _all if block.file == file and words in block.text]
    assert len(found) == 1, f"{len(found)} blocks of {file} have {words!r} in them"
    _named.add((file, found[0].number))
    return found[0]


def unnamed() -> "list[str]":
    """The blocks that no call of `example` has named: file and first line of each."""
    return [f"{block.file}: {block.text.splitlines()[0]}" for block in _all if (block.file, block.number) not in _named]
