"""The program's configuration: file, environment, command line; what is checked and what is shown."""

import inspect
import os
import subprocess
import sys
import tomllib

import pytest

from port.core.options import Options
from port.core.password_file import make_record
from port.cpython.config import descriptions
from server_process import environment
from toolchain import ROOT


def run(*arguments, **variables):
    """Run the program until it ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", "port.cpython", *arguments], cwd=ROOT, text=True, timeout=60, capture_output=True,
        env={**environment(), **variables},
    )  # fmt: skip


@pytest.fixture
def written(tmp_path):
    """Write a configuration file: written(text) -> its path."""

    def write(text):
        path = tmp_path / "broker.toml"
        path.write_text(text)
        return str(path)

    return write


RECORD = "$pbkdf2-sha256$i=1000$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
FULL = """
max_sessions = 50
log_level = "info"
[[auth]]
type = "password_file"
file = "users.txt"
[[auth]]
type = "users"
name = "inline"
users = { bob = "RECORD" }
[[listener]]
id = "lan"
port = 1900
max_connections = 5
[[listener]]
type = "websocket"
origins = ["*"]
[[acl]]
topic = "home/%u/#"
qos = 1
[[client_limits]]
user = "bob"
max_message_rate = 10
""".replace("RECORD", RECORD)


def test_a_right_configuration_is_said_to_be_right(written, tmp_path):
    path = written(FULL)
    (tmp_path / "users.txt").write_text("# nobody yet\n")
    done = run("--config", path, "--check-config")
    assert done.returncode == 0, done.stderr
    assert "the configuration is right" in done.stderr


def test_what_is_printed_is_a_configuration_again(written, tmp_path):
    """When the secrets are put in again."""
    path = written(FULL)
    (tmp_path / "users.txt").write_text("")
    done = run("--config", path, "--print-config", "--max-qos", "1", UCOMQTT_MAX_SESSIONS="70")
    assert done.returncode == 0, done.stderr
    values = tomllib.loads(done.stdout)
    assert values["max_qos"] == 1 and values["max_sessions"] == 70
    assert values["listener"][0] == {"id": "lan", "type": "tcp", "host": "127.0.0.1", "port": 1900, "max_connections": 5}
    assert values["listener"][1]["port"] == 8083
    assert values["acl"] == [{"topic": "home/%u/#", "qos": 1}]
    assert values["auth"][0]["file"] == str(tmp_path / "users.txt")
    assert values["auth"][1]["users"] == {"bob": "***"}
    again = run("--config", written(done.stdout.replace("***", RECORD)), "--print-config")
    assert again.stdout == done.stdout


def test_every_key_is_explained():
    text = run("--print-config").stdout
    lines = text.splitlines()
    for name in ("max_connections", "anonymous", "max_byte_rate", "log_level", "acl_file"):
        at = next(i for i, line in enumerate(lines) if line.startswith("# %s = " % name))
        assert len(lines[at - 1]) > 20 and lines[at - 1].startswith("# ")


def test_the_store(written, tmp_path):
    path = written('[store]\ntype = "sqlite"\nfile = "state/x.db"\ndurability = "sync"\n')
    done = run("--config", path, "--print-config", "--check-config")
    assert done.returncode == 0, done.stderr
    values = tomllib.loads(done.stdout)
    assert values["store"] == {"type": "sqlite", "file": str(tmp_path / "state" / "x.db"), "durability": "sync"}
    assert "# on_failure: while nothing can be written" in done.stdout and "folder" not in done.stdout
    for arguments, variables in ((("--store", "y.db"), {}), ((), {"UCOMQTT_STORE": "y.db"})):
        values = tomllib.loads(run("--config", path, "--print-config", *arguments, **variables).stdout)
        assert values["store"] == {"type": "sqlite", "file": str(ROOT / "y.db"), "durability": "sync"}
        values = tomllib.loads(run("--print-config", *arguments, **variables).stdout)
        assert values["store"] == {"type": "sqlite", "file": str(ROOT / "y.db")}
    assert os.listdir(tmp_path) == ["broker.toml"] and not (ROOT / "y.db").exists()


def test_secrets_are_not_printed(written):
    record = make_record(b"hidden", bytes(16), 1)
    path = written(
        '[[auth]]\ntype = "redis"\nurl = "redis://127.0.0.1:6379/0?password=hidden"\npassword = "hidden"\n'
        '[[auth]]\ntype = "http"\nuser_url = "https://example.org/check?key=hidden&more=hidden"\ntoken = "hidden"\n'
        '[[auth]]\ntype = "users"\nusers = { ann = "%s" }\n' % record
    )
    done = run("--config", path, "--print-config")
    assert done.returncode == 0, done.stderr
    assert "hidden" not in done.stdout and record[-20:] not in done.stdout
    for shown in ("127.0.0.1:6379/0?password=", "https://example.org/check?key=", "ann"):
        assert shown in done.stdout
    done = run("--config", written('[store]\ntype = "redis"\npassword = "hidden"\n'), "--print-config")
    assert done.returncode == 0 and "hidden" not in done.stdout


def test_later_sources_override_earlier_ones(written):
    path = written("max_connections = 1\nmax_sessions = 1\nmax_qos = 0\n")
    done = run("--config", path, "--max-qos", "2", "--print-config", UCOMQTT_MAX_QOS="1", UCOMQTT_MAX_SESSIONS="2")
    values = tomllib.loads(done.stdout)
    assert (values["max_connections"], values["max_sessions"], values["max_qos"]) == (1, 2, 2)
    done = run("--print-config", UCOMQTT_CONFIG=path, UCOMQTT_RETAIN_AVAILABLE="false")
    values = tomllib.loads(done.stdout)
    assert values["max_connections"] == 1 and values["retain_available"] is False


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_conections = 5", "unknown option max_conections, did you mean max_connections?"),
        ("port = 70000", "port must be from 0 to 65535, not 70000"),
        ("port = '1883'", "port must be a whole number, not '1883'"),
        ("log_level = 'loud'", "log_level must be one of debug, info, warning, error, not 'loud'"),
        ("[[listener]]\ntype = 'quic'", "a listener's type must be one of"),
        ("[[listener]]\nid = 'a'\ntls = { certificate = 'no.pem', key = 'no.key' }", "no.pem"),
        ("[[listener]]\nid = 'a'\ntrusted_proxies = ['10.0.0']", "trusted_proxies"),
        ("[[auth]]\ntype = 'password_file'", "auth password_file: file is missing"),
        ("[[auth]]\ntype = 'password_file'\nfile = 'nothing.txt'", "nothing.txt"),
        ("[[auth]]\ntype = 'ldap'", "auth ldap: unknown type ldap, did you mean"),
        ("[[auth]]\ntype = 'certificate'\nfield = 'ou'", "auth certificate: field must be cn or san, not 'ou'"),
        ("[[acl]]\ntopic = 'a/#/b'", "acl, rule 1: topic in an ACL rule must be a topic filter, not 'a/#/b'"),
        ("acl_file = 'nothing.acl'", "nothing.acl"),
        ("max_qos = = 1", "broker.toml"),
        ("[store]\ntype = 'sqlite'", "store: file is missing"),
        ("[store]\ntype = 'sqlite'\nfile = 'x'\ndurabilty = 'sync'", "store: unknown key durabilty, did you mean durability?"),
        ("[store]\ntype = 'sqlite'\nfile = 'x'\ndurability = 'all'", "store: durability must be one of none, batch, sync, not 'all'"),
        ("[store]\ntype = 'redis'\ndurability = 'sync'", "store: durability must be one of none, batch, not 'sync'"),
        ("[store]\ntype = 'redis'\npassword_file = 'no.txt'", "no.txt"),
        ("[store]\ntype = 'flash'", "store: type must be one of memory, sqlite, redis, not 'flash'"),
        ("store = 'x.db'", "store must be a table, not 'x.db'"),
    ],
)
def test_a_wrong_file_is_refused_with_what_is_wrong(written, text, message):
    done = run("--config", written(text), "--check-config")
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr


def test_wrong_variables_and_arguments_are_refused():
    for arguments, variables, message in (
        ((), {"UCOMQTT_MAX_QS": "1"}, "UCOMQTT_MAX_QS: unknown option max_qs, did you mean max_qos?"),
        ((), {"UCOMQTT_MAX_QOS": "x"}, "max_qos must be a whole number, not 'x'"),
        (("--max-qos", "3"), {}, "max_qos must be from 0 to 2, not 3"),
        (("--loop", "trio"), {}, "loop must be one of auto, asyncio, uvloop, not 'trio'"),
        (("--config", os.devnull + "x"), {}, "cannot read"),
    ):
        done = run("--check-config", *arguments, **variables)
        assert done.returncode == 2 and message in done.stderr, done.stderr


def test_the_example_of_the_raspberry_pi_is_right(tmp_path):
    for name in ("ucomqtt.toml", "docker.toml"):
        (tmp_path / name).write_text((ROOT / "boards" / "raspberry-pi" / name).read_text())
    (tmp_path / "users.txt").write_text("")
    for name in ("ucomqtt.toml", "docker.toml"):
        done = run("--config", str(tmp_path / name), "--check-config")
        assert done.returncode == 0, done.stderr


def test_explanations_without_indentation():
    """CPython 3.13 and newer take it away from docstrings when they compile."""
    class Later:
        __doc__ = inspect.cleandoc(Options.__doc__ or "")

    assert "max_connections" in descriptions(Later)
    assert descriptions(Later) == descriptions(Options)
