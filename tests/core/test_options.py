"""The options' defaults, ranges and messages."""

from harness import raises
from port.core.options import TABLE, Options


def test_defaults_of_a_board_and_of_a_server():
    board, server = Options(board=True), Options()
    for name, on_board, on_server, least, most, _ in TABLE:
        assert getattr(board, name) == on_board  # subset: ok, the names exist
        assert getattr(server, name) == on_server  # subset: ok, the names exist
        # Defaults must be allowed themselves.
        Options(**{name: on_board})
        Options(**{name: on_server})


def test_values_replace_defaults():
    options = Options(True, max_connections=5, queue_full="oldest", retain_available=False, server_reference="x:1")
    assert (options.max_connections, options.queue_full, options.retain_available) == (5, "oldest", False)
    assert options.server_reference == "x:1"
    assert options.max_sessions == Options(True).max_sessions


def test_numbers_out_of_range():
    for name, default, _, least, most, unit in TABLE:
        if isinstance(default, bool) or isinstance(default, str):
            continue
        for value in (least - 1, most + 1):
            text = str(raises(ValueError, lambda: Options(**{name: value})))
            assert text.startswith("%s must be from %d to %d" % (name, least, most)), text
            assert unit in text
        Options(**{name: least})
        Options(**{name: most})


def test_wrong_types():
    for values, text in (
        ({"max_connections": "5"}, "max_connections must be a whole number, not '5'"),
        ({"max_connections": 5.0}, "max_connections must be a whole number, not 5.0"),
        ({"max_connections": True}, "max_connections must be a whole number, not True"),
        ({"max_connections": None}, "max_connections must be a whole number, not None"),
        ({"retain_available": 1}, "retain_available must be true or false, not 1"),
        ({"retain_available": "yes"}, "retain_available must be true or false, not 'yes'"),
        ({"server_reference": 5}, "server_reference must be a string, not 5"),
        ({"queue_full": "all"}, "queue_full must be one of newest, oldest, disconnect, not 'all'"),
        ({"queue_full": 1}, "queue_full must be a string, not 1"),
        ({"anonymous": ""}, "anonymous must be one of auto, loopback, all, none, not ''"),
    ):
        assert str(raises(ValueError, lambda: Options(**values))) == text


def test_unknown_options():
    assert str(raises(ValueError, lambda: Options(max_conections=5))) == "unknown option max_conections"


def test_every_option_is_explained():
    names = [row[0] for row in TABLE]
    assert len(set(names)) == len(names)
    text = Options.__doc__ if hasattr(Options, "__doc__") else None  # subset: ok, it is looked for
    if text:  # MicroPython drops it
        lines = [line.strip() for line in text.split("\n")]  # CPython 3.13 drops the indentation
        for name in names:
            assert any([line.startswith(name + ": ") for line in lines]), name
