"""A store, an authenticator and a listener of one file each, those of CONTRIBUTING.md, on both runtimes."""

import socket

import pytest

from configuration import write
from examples import example
from server_process import RUNTIMES, free_port
from drivers.paho import Paho
from toolchain import ROOT

NAMES = ("file_store", "shared_password", "stream_listener")
EXAMPLES = {name: example("CONTRIBUTING.md", "# %s.py\n" % name) for name in NAMES}
PROGRAM = ROOT / "tests" / "support" / "programs" / "own_types.py"
SECONDS = 30


def test_they_are_short():
    for found in EXAMPLES.values():
        assert len([line for line in found.lines if line.strip()]) <= 20, found.text


@pytest.fixture
def start(start_broker, tmp_path):
    """Start the program: start(runtime, port, values) is its process, whose `port` is where it is told what to do."""
    for name, found in EXAMPLES.items():
        (tmp_path / (name + ".py")).write_text(found.text)

    def begin(runtime, values, listening=True):
        path = write(tmp_path / "broker.conf", runtime, values)
        return start_broker(runtime, path, str(tmp_path), script=PROGRAM, listening=listening)

    return begin


def values(tmp_path, port, **more):
    listener = {"type": "stream", "port": port, "greeting": "who is there", **more}
    return {
        "auth": [{"type": "shared", "password": "secret"}],
        "store": {"type": "file", "folder": str(tmp_path)},
        "listener": [listener],
    }


def tell(server, words):
    with socket.create_connection(("127.0.0.1", server.port), SECONDS) as sock:
        sock.sendall(words)
        sock.recv(1)


def ends(server):
    tell(server, b"end")
    assert server.wait(SECONDS) == 0
    assert server.output.count("the password is known") == server.output.count("the password is forgotten")
    return server.output


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_all_three(start, tmp_path, runtime):
    port = free_port()
    for present in (False, True):
        server = start(runtime, values(tmp_path, port))
        assert "listener stream (stream): listening on 127.0.0.1:%d" % port in server.output
        client = Paho(port, "c", 5, persistent=True, user="ann", password="secret")
        assert client.session_present == present
        if not present:
            client.subscribe("a/#", 1)
            client.publish("a/b", b"kept", 1, retain=True)
            assert client.receive().payload == b"kept"
        client.disconnect()
        with pytest.raises(AssertionError, match="Bad user name or password"):
            Paho(port, "d", 5, user="ann", password="secre")
        with pytest.raises(AssertionError, match="Not authorized"):
            Paho(port, "d", 5)
        output = ends(server)
        assert "who is there" in output and output.count("the password is known") == 1
        assert output.index("the password is known") < output.index("listening on") < output.index("is forgotten")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_another_configuration(start, tmp_path, runtime):
    port = free_port()
    server = start(runtime, values(tmp_path, port))
    path = tmp_path / "broker.conf"
    other = values(tmp_path, port, greeting="hello again")
    other["auth"][0]["password"] = "other"
    write(path, runtime, other)
    tell(server, b"change")
    Paho(port, "c", 5, user="ann", password="other").disconnect()
    assert "changed" in server.output and "hello again" in server.output
    for wrong, text in (
        ({"greetin": "x"}, "listener stream: unknown key greetin, did you mean greeting?"),
        ({"greeting": 5}, "listener stream: greeting must be a string, not 5"),
        ({"type": "tcp", "id": "stream", "greeting": "x"}, "listener stream: greeting is for type stream only"),
        ({"tls": {}}, "listener stream: tls is for type "),
    ):
        write(path, runtime, values(tmp_path, port, **wrong))
        tell(server, b"change")
        assert "not changed: %s" % text in server.output
    Paho(port, "c", 5, user="ann", password="other").disconnect()
    assert ends(server).count("the password is known") == 2


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(("changed", "text"), [
    ({"store": {"type": "fil"}}, "ValueError: store: type must be one of memory, "),
    ({"store": {"type": "file"}}, "ValueError: store: type file: TypeError"),
    ({"auth": [{"type": "shared"}]}, "ValueError: auth shared: password is missing"),
    ({"auth": [{"type": "shard"}]}, "ValueError: auth shard: unknown type shard, did you mean shared?"),
    ({"listener": [{"type": "strem"}]}, "ValueError: listener strem: type must be one of absent, http, stream, tcp, unix, websocket, not"),
    ({"listener": [{"type": "absent"}]}, "no_such_module"),
])
def test_mistakes(start, tmp_path, runtime, changed, text):
    server = start(runtime, {**values(tmp_path, 1885), **changed}, listening=False)
    assert server.wait(SECONDS) == 2
    assert text in server.output


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(("name", "what"), [("shared_password", "auth shared"), ("stream_listener", "listener stream")])
def test_who_cannot_be_opened_is_named(start, tmp_path, runtime, name, what):
    text = EXAMPLES[name].text.replace("async def open(self):", "async def open(self):\n        raise KeyError('on purpose')\n")
    (tmp_path / (name + ".py")).write_text(text)
    server = start(runtime, values(tmp_path, free_port()), listening=False)
    assert server.wait(SECONDS) == 0
    assert "not started: %s: cannot be opened: " % what in server.output and "on purpose" in server.output
    assert "listening on" not in server.output
    assert server.output.count("the password is known") == server.output.count("the password is forgotten")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_server_stops_whatever_a_close_raises(start, tmp_path, runtime):
    for name in ("shared_password", "stream_listener"):
        text = EXAMPLES[name].text.replace("def close(self):", "def close(self):\n        raise ValueError('on purpose')\n")
        (tmp_path / (name + ".py")).write_text(text)
    server = start(runtime, values(tmp_path, free_port()))
    tell(server, b"end")
    assert server.wait(SECONDS) == 0
    for what in ("auth shared", "listener stream"):
        assert "%s: cannot be closed: " % what in server.output
    assert server.output.rstrip().endswith("stopped")
