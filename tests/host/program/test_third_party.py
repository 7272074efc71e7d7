"""Listeners, authenticators and stores of other packages, which name them in entry points."""

import os
import signal
import subprocess
import sys
import time

import pytest

from drivers.paho import Paho
from server_process import FOLDER, free_port
from toolchain import ROOT

MODULE = '''\
import asyncio

from port.core.config.listener_types import ListenerType
from port.core.streams import serve_stream
from port.core.auth.authenticator import Authenticator
from port.cpython.auth.settings import Setting
from port.cpython.stores.sqlite import SQLiteStore


class Directory(Authenticator):
    """Lets in whoever's password is his name, backwards."""

    SETTINGS = (Setting("url", "", "where the directory is", required=True), Setting("api_key", "", "its key", secret=True))

    def __init__(self, settings):
        if not settings.get("url", "").startswith("ldap://"):
            raise ValueError("url must begin with ldap://, not %r" % settings.get("url"))

    async def open(self):
        print("the directory is open", flush=True)

    async def close(self):
        print("the directory is closed", flush=True)

    def authenticate(self, client, user, password):
        return 0 if user is not None and password == user[::-1] else 0x86


class Ledger(SQLiteStore):
    SETTINGS = (Setting("pages", "", "where it is written"),)

    def __init__(self, pages, base="", ink=""):
        super().__init__(pages)


class Streams(ListenerType):
    """MQTT over streams.

    motto: what is printed when it opens (default: nothing)
    token: what nobody is to see
    """

    KEYS = {"motto": (str, ""), "token": (str, "")}
    PORTS = (1885, 0)
    CALLED = {"rivers": False}

    @classmethod
    def check(cls, config):
        if config.settings["motto"] == "none":
            raise ValueError("motto must be one")

    @classmethod
    def obstacles(cls, config):
        if config.settings["motto"] == "impossible":
            yield "motto cannot be followed here"

    async def open(self):
        print(self.config.settings["motto"], flush=True)
        self._server = await asyncio.start_server(self._serve, self.config.host, self.config.port)

    async def _serve(self, reader, writer):
        await serve_stream(self.server, reader, writer, "127.0.0.1:1", self.listener)

    def close(self):
        self._server.close()
        print("the streams are closed", flush=True)


class Broken(Authenticator):
    SETTINGS = None

    def __init__(self, settings):
        settings["no such key"]


def nothing(settings):
    return settings
'''
POINTS = """\
[ucomqtt.authenticators]
directory = other_package:Directory
nothing = other_package:nothing
broken = other_package:Broken
users = other_package:Directory
absent = other_package:Absent

[ucomqtt.stores]
ledger = other_package:Ledger

[ucomqtt.listeners]
streams = other_package:Streams
tcp = other_package:Streams
lost = other_package:Lost
"""


@pytest.fixture
def variables(tmp_path):
    """With these a Python finds the other package as one that is installed."""
    (tmp_path / "other_package.py").write_text(MODULE)
    folder = tmp_path / "other_package-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: other-package\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(POINTS)
    return {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(FOLDER)])}


def ask(variables, path, option):
    return subprocess.run([sys.executable, "-m", "port.cpython", "--config", str(path), option], cwd=ROOT, text=True, timeout=60,
                          capture_output=True, env={**os.environ, **variables})


def test_a_broker_with_both(server_process, tmp_path, variables):
    path = tmp_path / "broker.toml"
    path.write_text(f"""\
[[auth]]
type = "directory"
url = "ldap://127.0.0.1"
api_key = "hush"

[store]
type = "ledger"
base = "hush"
ink = "hush"
pages = "{tmp_path}/ledger.db"
""")
    assert ask(variables, path, "--check-config").returncode == 0
    shown = ask(variables, path, "--print-config").stdout
    assert "hush" not in shown
    assert "# where the directory is" in shown and f'pages = "{tmp_path}/ledger.db"' in shown
    for present in (False, True):
        with server_process("cpython", "--config", str(path), variables=variables) as server:
            client = Paho(server.port, "c", 4, persistent=True, user="ann", password="nna")
            assert client.session_present == present
            client.subscribe("a", 1)
            client.disconnect()
            with pytest.raises(AssertionError, match="Bad user name or password"):
                Paho(server.port, "d", 4, user="ann", password="ann")
            server.stop()
            assert "the directory is open" in server.output and "the directory is closed" in server.output


@pytest.mark.parametrize(("table", "text"), [
    ('[[auth]]\ntype = "directory"\nurl = "http://x"', "auth directory: url must begin with ldap://, not 'http://x'"),
    ('[[auth]]\ntype = "directorry"', "directory"),
    ('[[auth]]\ntype = "nothing"', "auth nothing: type nothing makes no Authenticator but {}"),
    ('[[auth]]\ntype = "broken"', "auth broken: type broken: KeyError\n"),
    ('[[auth]]\ntype = "users"\nurl = "ldap://x"', "auth users: unknown key url"),
    ('[[auth]]\ntype = "absent"', "auth absent: type absent is other_package:Absent, which cannot be loaded: AttributeError"),
    ('[store]\ntype = "ledger"', "store: type ledger: "),
    ('[store]\ntype = "sqlite"\nfile = "x"\nink = "y"', "broker.toml:4: store: unknown key ink, there are type, file, durability"),
    ('[store]\ntype = "sqlite"\nurl = "x"', "store: url is for type redis, not sqlite"),
    ('[[listener]]\ntype = "rivers"', "listener rivers: type must be one of http, lost, streams, tcp, unix, websocket, not 'rivers', which is streams"),
    ('[[listener]]\ntype = "streams"\nmotta = "x"', "broker.toml:3: listener streams: unknown key motta, did you mean motto?"),
    ('[[listener]]\ntype = "streams"\nmotto = 5', "broker.toml:3: listener streams: motto must be a string, not 5"),
    ('[[listener]]\ntype = "streams"\nmotto = "none"', "broker.toml:3: listener streams: motto must be one"),
    ('[[listener]]\ntype = "streams"\nmotto = "impossible"', "broker.toml:3: listener streams: motto cannot be followed here"),
    ('[[listener]]\ntype = "streams"\ntls = {}', "listener streams: tls is for type tcp or websocket or unix or http only"),
    ('[[listener]]\nmotto = "x"', "listener tcp: motto is for type streams only"),
    ('[[listener]]\ntype = "lost"', "type lost is other_package:Lost, which cannot be loaded: AttributeError"),
    ('[[listener]]\nport = 1885\n[[listener]]\ntype = "streams"', "listener streams: port is that of listener tcp already: 1885"),
    ('[store]\ntype = "other"', "store: type must be one of memory, sqlite, redis, ledger, not 'other'"),
])
def test_mistakes(tmp_path, variables, table, text):
    path = tmp_path / "broker.toml"
    path.write_text(table + "\n")
    done = ask(variables, path, "--check-config")
    assert done.returncode == 2 and text in done.stderr, done.stderr


@pytest.mark.parametrize("argument", ["--motto", "--tokenn"])
def test_a_key_of_a_listener_on_the_command_line(tmp_path, variables, argument):
    path = tmp_path / "broker.toml"
    path.write_text("")
    done = ask(variables, path, argument)
    assert done.returncode == 2
    assert ("motto of a [[listener]]" in done.stderr) == (argument == "--motto")


def test_a_listener(server_process, tmp_path, variables):
    path = tmp_path / "broker.toml"
    port = free_port()
    text = f"""\
[[listener]]
type = "streams"
port = {port}
motto = "everything flows"
token = "hush"
max_qos = 1
"""
    path.write_text(text)
    assert ask(variables, path, "--check-config").returncode == 0
    shown = ask(variables, path, "--print-config").stdout
    assert "hush" not in shown
    assert '# what is printed when it opens (default: nothing)\nmotto = "everything flows"' in shown
    assert "streams: MQTT over streams" in shown and "streams 1885" in shown and "#   motto: what is printed" in shown
    with server_process("cpython", "--config", str(path), variables=variables) as server:
        until(server, "listener streams (streams): listening on 127.0.0.1:%d" % port)
        client = Paho(port, "c", 5)
        assert client.connack["MaximumQoS"] == 1
        client.subscribe("a", 1)
        client.publish("a", b"hello", 1)
        assert client.receive().payload == b"hello"
        path.write_text(text.replace("max_qos = 1", "max_qos = 0"))
        server.signal(signal.SIGHUP)
        until(server, "the configuration was read again")
        other = Paho(port, "d", 5)
        assert other.connack["MaximumQoS"] == 0
        path.write_text(text.replace(str(port), '"x"'))
        server.signal(signal.SIGHUP)
        until(server, "the configuration was not changed")
        server.stop()
        assert "everything flows" in server.output and "the streams are closed" in server.output


def until(server, text):
    deadline = time.monotonic() + 20
    while text not in server.output:
        assert time.monotonic() < deadline, server.output
        time.sleep(0.05)
