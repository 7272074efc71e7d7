"""The options' defaults, ranges and messages."""

from harness import raises
from port.core.limits.options import NO_LIMIT, TABLE, Options


def test_defaults_of_a_board_and_of_a_server():
    board, server = Options(board=True), Options()
    for name, on_board, on_server, least, most, _ in TABLE:
        assert getattr(board, name) == on_board  # subset: ok, the names exist
        assert getattr(server, name) == on_server  # subset: ok, the names exist
        # Defaults must be allowed themselves.
        Options(False, **{name: on_board})
        Options(False, **{name: on_server})


def test_values_replace_defaults():
    options = Options(True, max_connections=5, queue_full="oldest", retain_available=False, server_reference="x:1")
    assert (options.max_connections, options.queue_full, options.retain_available) == (5, "oldest", False)
    assert options.server_reference == "x:1"
    assert options.max_sessions == Options(True).max_sessions


def test_numbers_out_of_range():
    for name, default, _, least, most, unit in TABLE:
        if isinstance(default, (bool, str, tuple)):
            continue
        for value in (-1, least - 1 or -1, most + 1):
            text = str(raises(ValueError, lambda: Options(False, **{name: value})))
            assert text.startswith("%s must be from %d to %d" % (name, least, most)), text
            assert unit in text
        Options(False, **{name: least})
        Options(False, **{name: most})


def test_zero_is_no_limit_where_it_says_so():
    options = Options(False, **{name: 0 for name in NO_LIMIT})
    assert (options.receive_maximum, options.max_inflight) == (65535, 65535)
    assert options.max_inflight_bytes == options.max_queued_bytes == 1073741824
    # No more than max_memory has places for: on MicroPython a queue has them all from the beginning.
    assert options.max_queued_messages == 268435456 // 48
    assert Options(True, max_queued_messages=0).max_queued_messages == 40960 // 48
    assert Options(max_queued_messages=0, max_memory=4096, max_packet_size=4800).max_queued_messages == 400
    for changed in (options.changed({}), options.changed({"max_qos": 1}), Options().changed({name: 0 for name in NO_LIMIT})):
        assert [changed.values()[name] for name in NO_LIMIT] == [options.values()[name] for name in NO_LIMIT]
    for name, _, _, least, most, unit in TABLE:
        if name in NO_LIMIT:
            text = str(raises(ValueError, lambda: Options(False, **{name: -1})))
            assert text == "%s must be from %d to %d%s or 0 for no limit, not -1" % (name, least, most, " " + unit if unit else "")
    assert str(raises(ValueError, lambda: Options(max_packet_size=0))) == "max_packet_size must be from 128 to 268435460 bytes, not 0"


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
        ({"server_reference": "a\0"}, "server_reference must not contain a NUL character"),
        ({"auto_id_prefix": "\u00e4" * 4, "max_client_id_length": 23},
         "auto_id_prefix must not be longer than 7 bytes, 16 less than max_client_id_length"),
        ({"queue_full": 1}, "queue_full must be a string, not 1"),
        ({"accept_protocol_versions": []}, "accept_protocol_versions must be a list of some of 3, 4, 5, not []"),
        ({"accept_protocol_versions": [4, 6]}, "accept_protocol_versions must be a list of some of 3, 4, 5, not [4, 6]"),
        ({"accept_protocol_versions": ["4"]}, "accept_protocol_versions must be a list of some of 3, 4, 5, not ['4']"),
        ({"accept_protocol_versions": 4}, "accept_protocol_versions must be a list of some of 3, 4, 5, not 4"),
        ({"anonymous": ""}, "anonymous must be one of auto, loopback, all, none, not ''"),
    ):
        assert str(raises(ValueError, lambda: Options(**values))) == text


def test_unknown_options():
    assert str(raises(ValueError, lambda: Options(max_conections=5))) == "unknown option max_conections, did you mean max_connections?"


def test_every_option_is_explained():
    names = [row[0] for row in TABLE]
    assert len(set(names)) == len(names)
    text = Options.__doc__ if hasattr(Options, "__doc__") else None  # subset: ok, it is looked for
    if text:  # MicroPython drops it
        lines = [line.strip() for line in text.split("\n")]  # CPython 3.13 drops the indentation
        for name in names:
            assert any([line.startswith(name + ": ") for line in lines]), name
