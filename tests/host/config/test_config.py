"""The program's configuration: file, environment, command line; what is checked and what is shown."""

import inspect
import os
import subprocess
import sys
import tomllib
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from port.core.limits.options import Options
from port.core.auth.password_file import make_record
from port.core.config.listener_config import LISTENER_KEYS
from port.cpython.config.config_file import descriptions
from port.cpython.config.print_config import _literal, without_secrets
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
    for key in LISTENER_KEYS:
        assert "\n#   %s: " % key in text, key
    assert "subscribe_only" in text
    lines = text.splitlines()
    for name in ("max_connections", "anonymous", "max_byte_rate", "log_level", "log_format", "acl_file"):
        at = next(i for i, line in enumerate(lines) if line.startswith("# %s = " % name))
        assert len(lines[at - 1]) > 20 and lines[at - 1].startswith("# ")
    for kind, key in (("auth", "type: one of allow, deny"), ("acl", "topic: topic filter; `%u` stands for"), ("client_limits", "user: whose")):
        at = next(i for i, line in enumerate(lines) if line.startswith("# [[%s]]: " % kind))
        assert any(line.startswith("#   " + key) for line in lines[at:at + 9])


def test_the_keys_of_an_authenticator_are_explained(written):
    text = run("--config", written('[[auth]]\ntype = "http"\nuser_url = "http://127.0.0.1/"\n'), "--print-config").stdout
    assert '# asked when a client connects (required)\nuser_url = "http://127.0.0.1/"\n' in text
    assert "# acl_url: asked about topics for which there is no rule" in text


def test_the_store(written, tmp_path):
    path = written('[store]\ntype = "sqlite"\nfile = "state/x.db"\ndurability = "sync"\n')
    (tmp_path / "state").mkdir()
    done = run("--config", path, "--print-config", "--check-config")
    assert done.returncode == 0, done.stderr
    values = tomllib.loads(done.stdout)
    assert values["store"] == {"type": "sqlite", "file": str(tmp_path / "state" / "x.db"), "durability": "sync"}
    assert "# on_failure: behaviour while writing fails" in done.stdout and "folder" not in done.stdout
    for arguments, variables in ((("--store", "y.db"), {}), ((), {"UCOMQTT_STORE": "y.db"})):
        values = tomllib.loads(run("--config", path, "--print-config", *arguments, **variables).stdout)
        assert values["store"] == {"type": "sqlite", "file": str(ROOT / "y.db"), "durability": "sync"}
        values = tomllib.loads(run("--print-config", *arguments, **variables).stdout)
        assert values["store"] == {"type": "sqlite", "file": str(ROOT / "y.db")}
    assert sorted(os.listdir(tmp_path)) == ["broker.toml", "state"] and not os.listdir(tmp_path / "state") and not (ROOT / "y.db").exists()


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


# What a URL looks like around a password, and what is shown of it at most.
URLS = (
    ("redis://user:%s@host.example:6379/0", "redis://***@host.example:6379/0"),
    ("redis://:%s@host.example/0?db=1", "redis://***@host.example/0?db=***"),
    ("https://user:%s@[::1]:8443/check", "https://***@[::1]:8443/check"),
    ("https://host.example/check?key=%s", "https://host.example/check?key=***"),
    ("https://host.example/check?key=%s&more=x#y", "https://host.example/check?key=***"),
    ("https://host.example/check#%s", "https://host.example/check#***"),
    ("unix://user:%s@/run/redis.sock?db=1", "unix://***@/run/redis.sock?db=***"),
)


@given(st.text(st.characters(codec="utf-8") | st.sampled_from("/@:?#&=%[]. abc"), min_size=1), st.booleans())
@example("S3cr3t/W0rd", False)
@example("S3c@r3t/W0rd", False)
@example("A=", False)
@example("a?bcd=efg@hij", False)
@example("a#bcd", False)
@example("12/345", False)
@example("p://wor:d@d", False)
def test_no_piece_of_a_password_in_a_url_is_shown(password, quoted):
    for url, most in URLS:
        shown = without_secrets(url % (quote(password, safe="") if quoted else password))
        hidden = url.partition("://")[0] + "://***"
        assert shown in (most, hidden), (shown, url)
        if quoted or password.isalnum():
            assert shown == most


def test_urls_without_a_secret_are_shown():
    for url in ("redis://127.0.0.1:6379/0", "unix:///run/redis.sock", "https://example.org:8443/a/b.php", "http://[fe80::1]/x", "a:b", ""):
        assert without_secrets(url) == url


def test_what_only_looks_like_a_url_is_not_shown():
    for text, shown in (("redis://user:S3cr3t", "redis://***"), ("S3cr3t W0rd://host/", "***"), ("redis://[S3cr3t/x", "redis://***")):
        assert without_secrets(text) == shown


def test_secrets_of_tables_in_tables():
    shown = _literal("tls", {"key": "server.key", "key_password": "hidden", "more": [{"Token": ["hidden"], "password_file": "p", "pin_secret": 12345}]})
    assert "hidden" not in shown and "12345" not in shown and '"server.key"' in shown and '"p"' in shown
    assert _literal("users", {"a": "hidden", "b": 12345}) == '{ "a" = "***", "b" = "***" }'
    assert _literal("token_in", "password") == '"password"' and _literal("plain_passwords", True) == "true"


def test_an_empty_list_of_rules_is_printed(written):
    path = written('acl = []\n[[listener]]\nacl = []\n')
    done = run("--config", path, "--print-config")
    values = tomllib.loads(done.stdout)
    assert values["acl"] == [] and values["listener"][0]["acl"] == []


def test_passwords_in_urls_are_refused_without_showing_them(written):
    for text in (
        'type = "redis"\nurl = "redis://user:S3cr3t/W0rd@host"',
        'type = "redis"\nurl = ["redis://user:S3cr3t/W0rd@host"]',
        'type = "http"\nuser_url = "http://user:12/S3cr3tW0rd@host"',
        'type = "redis"\npassword = ["S3cr3tW0rd"]',
        'type = "users"\nusers = ["ann:S3cr3tW0rd"]',
    ):
        done = run("--config", written("[[auth]]\n" + text), "--check-config")
        assert done.returncode == 2 and "S3cr3t" not in done.stderr + done.stdout and "W0rd" not in done.stderr, done.stderr
    for text in ('url = "redis://user:S3cr3t/W0rd@host"', 'password = ["S3cr3tW0rd"]'):
        done = run("--config", written('[store]\ntype = "redis"\n' + text), "--check-config")
        assert done.returncode == 2 and "S3cr3t" not in done.stderr and "W0rd" not in done.stderr, done.stderr


def test_a_file_that_is_nested_too_deep(written):
    for text in ("a = " + "[" * 100_000, "a = " + "{a=" * 100_000):
        done = run("--config", written(text), "--check-config")
        assert done.returncode == 2 and "nested too deep" in done.stderr and "Traceback" not in done.stderr


def test_a_boards_file_that_is_nested_too_deep(tool, tmp_path):
    path = tmp_path / "broker.json"
    code = "from port.micropython import read_config\ntry:\n    read_config(%r)\nexcept ValueError as e:\n    print(e)"
    code %= str(path)
    for text, message in (
        ('{"acl": %s%s}' % ("[" * 9, "]" * 9), "nested too deep"),
        ('{"acl": %s%s}' % ("[" * 5000, "]" * 5000), "nested too deep"),
        ('{"a":' * 2000 + "1" + "}" * 2000, "nested too deep"),
        ("[" * 5000, "not a JSON object"),
    ):
        path.write_text(text)
        done = subprocess.run([tool("micropython"), "-c", code], cwd=ROOT, text=True, timeout=60, capture_output=True)
        assert done.stdout == "%s: %s\n" % (path, message), done.stderr


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
        ("[[listener]]\ntype = 'quic'", "listener quic: type must be one of"),
        ("[[listener]]\nid = 'a'\ntls = { certificate = 'no.pem', key = 'no.key' }", "no.pem"),
        ("[[listener]]\nid = 'a'\ntrusted_proxies = ['10.0.0']", "trusted_proxies"),
        ("[[auth]]\ntype = 'password_file'", "auth password_file: file is missing"),
        ("[[auth]]\ntype = 'password_file'\nfile = 'nothing.txt'", "nothing.txt"),
        ("[[auth]]\ntype = 'ldap'", "auth ldap: unknown type ldap, there are allow, deny,"),
        ("[[auth]]\ntype = 'certificate'\nfield = 'ou'", "auth certificate: field must be cn, san or subject, not 'ou'"),
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
        text = (ROOT / "boards" / "raspberry-pi" / name).read_text()
        (tmp_path / name).write_text(text.replace("/var/lib/ucomqtt", str(tmp_path)))
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
