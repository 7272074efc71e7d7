"""Options: whatever is given is taken as it is or refused by name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from port.core.limits.options import NO_LIMIT, TABLE, Options
from toolchain import ROOT

values = (st.integers() | st.integers(-1, 70000) | st.booleans() | st.none() | st.text(max_size=10) | st.floats()
          | st.sampled_from(["newest", "oldest", "disconnect", "loopback", "all", "none"]) | st.binary(max_size=3)
          | st.lists(st.integers(), max_size=2)
          | st.lists(st.integers(2, 6), max_size=4))


def valid(row, value):
    """Whether the table allows the value."""
    _, default, _, least, most, _ = row
    if isinstance(default, bool):
        return isinstance(value, bool)
    if isinstance(default, tuple):
        return isinstance(value, list | tuple) and len(value) > 0 and all(type(item) is int and item in default for item in value)
    if isinstance(default, str):
        return isinstance(value, str) and "\0" not in value and (least is None or value in least)
    return type(value) is int and (least <= value <= most or not value and row[0] in NO_LIMIT)


@given(st.sampled_from(TABLE), values, st.booleans())
def test_one_option(row, value, board):
    name = row[0]
    if valid(row, value):
        options = Options(board, **{name: value})
        if value or name not in NO_LIMIT:
            assert getattr(options, name) == value
        else:
            assert getattr(options, name) > row[1 if board else 2]
        for other in TABLE:
            if other[0] != name:
                assert getattr(options, other[0]) == other[1 if board else 2]
    else:
        with pytest.raises(ValueError, match=name):
            Options(board, **{name: value})


@given(st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=20))
def test_unknown_option(name):
    if name not in [row[0] for row in TABLE] and name not in ("board", "self"):
        with pytest.raises(ValueError, match=name):
            Options(False, **{name: 1})


@pytest.mark.parametrize("board", [False, True])
def test_defaults_are_valid(board):
    for row in TABLE:
        assert valid(row, row[1 if board else 2]), row[0]


def test_the_reference_tells_defaults_and_ranges():
    """port/OPTIONS.md, where an operator looks them up."""
    told: dict[str, list[str]] = {}
    for line in (ROOT / "port" / "OPTIONS.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) > 5 and cells[1].startswith("`"):
            told.setdefault(cells[1].strip("`"), cells[2:5])
    for name, on_board, on_server, least, most, unit in TABLE:
        server, board, range_told = told[name]
        if isinstance(on_board, bool):
            assert (server, board) == (str(on_server).lower(), str(on_board).lower()), name
        elif isinstance(on_board, int):
            assert (server, board) == (str(on_server), str(on_board)), name
            ends = (" " + unit if unit else "") + (" or 0" if name in NO_LIMIT else "")
            assert range_told == "%d to %d%s" % (least, most, ends), name
        elif isinstance(on_board, str):
            assert (server.strip('"'), board.strip('"')) == (on_server, on_board), name
        else:
            assert server == board == "all" and range_told == "some of " + ", ".join([str(item) for item in on_server]), name
