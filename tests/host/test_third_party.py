"""Authenticators and stores of other packages, which name them in entry points."""

import os
import subprocess
import sys

import pytest

from server_process import FOLDER
from tests.host.drivers.paho import Paho
from toolchain import ROOT

MODULE = '''\
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
    ('[[auth]]\ntype = "broken"', "auth broken: type broken: KeyError: 'no such key'"),
    ('[[auth]]\ntype = "users"\nurl = "ldap://x"', "auth users: unknown key url"),
    ('[[auth]]\ntype = "absent"', "auth absent: type absent is other_package:Absent, which cannot be loaded: AttributeError"),
    ('[store]\ntype = "ledger"', "store: type ledger: "),
    ('[store]\ntype = "other"', "store: type must be one of memory, sqlite, redis, ledger, not 'other'"),
])
def test_mistakes(tmp_path, variables, table, text):
    path = tmp_path / "broker.toml"
    path.write_text(table + "\n")
    done = ask(variables, path, "--check-config")
    assert done.returncode == 2 and text in done.stderr, done.stderr
