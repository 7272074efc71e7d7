"""Mistakes people make, and what they are told: on the command line, in configuration files, in a program, as a client.

What the broker itself says of refusals, on both runtimes, is in tests/core/test_refusals.py.
"""

import asyncio
import gc
import json
import logging
import re
import signal
import socket
import subprocess
import sys
import weakref
from typing import Any

import pytest

from drivers import TIMEOUT
from port.core.wire.codec import CONNECT, SUBSCRIBE
from port.core.limits.options import Options
from port.core.auth.allow_deny import AllowAll
from port.core.auth.authenticator import Authenticator
from port.core.auth.password_file import make_record
from port.core.protocol.client_packets import encode
from port.core.storage.store import Store
from port.core.broker import Broker
from port.cpython import Server
from server_process import ServerProcess, environment, free_port
from toolchain import ROOT

RECORD = make_record(b"right", bytes(16), 1)


def run(*arguments, folder=ROOT, **variables):
    """Run the program until it ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", "port.cpython", *arguments], cwd=folder, text=True, timeout=60, capture_output=True,
        env={**environment(), **variables},
    )  # fmt: skip


LAN = '[[listener]]\nid = "lan"\n'
TYPE = "listener lan: type must be one of http, tcp, unix, websocket, not "

# -- the command line --------------------------------------------------------------------------------

ARGUMENTS = (
    (("--hots", "x"), "unknown argument --hots, did you mean --host?"),
    (("--prot", "1"), "unknown argument --prot, did you mean --port?"),
    (("--max-qs", "1"), "unknown argument --max-qs, did you mean --max-qos?"),
    (("--max-conections=5",), "unknown argument --max-conections, did you mean --max-connections?"),
    (("--bridge",), "unknown argument --bridge"),
    (("broker.toml",), "unknown command broker.toml, did you mean --config broker.toml?"),
    (("mosquitto.conf",), "unknown command mosquitto.conf, did you mean from-mosquitto mosquitto.conf, which "
     "translates it?"),
    (("README.md",), "unknown command README.md, did you mean --config README.md?"),
    (("xyzzy",), "unknown command xyzzy, there are pub, sub, passwd,"),
    (("-p", "1883"), "unknown argument -p, did you mean --port?"),
    (("-p1883",), "unknown argument -p, did you mean --port?"),
    (("-c", "broker.toml"), "unknown argument -c, did you mean --config?"),
    (("-x",), "unknown argument -x"),
    (("--tls", "x"), "unknown argument --tls; it is a part of the configuration, tls of a [[listener]]: --config FILE"),
    (("--acl",), "unknown argument --acl; it is a part of the configuration, [[acl]]: --config FILE"),
    (("--port",), "argument --port: expected one argument"),
    (("--port", "x"), "port must be a whole number, not 'x'"),
    (("--port", "70000"), "listener default: port must be from 0 to 65535, not 70000"),
    (("--max-qos", "7"), "max_qos must be from 0 to 2, not 7"),
    (("--retain-available", "yes"), "retain_available must be true or false, not 'yes'"),
    (("--log-format", "xml"), "log_format must be one of text, json, not 'xml'"),
    (("--host", "300.1.2.3"), "listener default: host is no IP address: '300.1.2.3'"),
    (("--config", "no.toml"), "cannot read no.toml: No such file or directory"),
)


@pytest.mark.parametrize(("arguments", "text"), ARGUMENTS, ids=lambda value: value if isinstance(value, str) else "")
def test_arguments(arguments, text):
    done = run(*arguments)
    lines = done.stderr.splitlines()
    assert done.returncode == 2 and (": " + text + ("" if text.endswith(",") else "\n")) in lines[0] + "\n", done.stderr
    assert len(lines) == 1 or len(lines) == 2 and lines[1].endswith(" --help tells what there is")


@pytest.mark.parametrize("module", ("port.cpython", "ucomqtt", "port.cpython.cli"))
def test_an_old_python(module):
    """As on Python 3.10, which has no tomllib, by each way into the program."""
    script = """
import runpy, sys
sys.version_info = (3, 10, 12, "final", 0)
sys.modules["tomllib"] = None
sys.argv = ["ucomqtt", "--version"]
runpy.run_module(%r, run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", script % module], cwd=ROOT, text=True, timeout=60, capture_output=True,
                          env=environment())
    assert (done.returncode, done.stderr) == (1, "ucomqtt needs Python 3.11 or newer; this is 3.10.12\n")


VARIABLES = (
    ({"PROT": "1"}, "UCOMQTT_PROT: unknown option prot, did you mean port?"),
    ({"MAX_QOS": "x"}, "UCOMQTT_MAX_QOS: max_qos must be a whole number, not 'x'"),
    ({"MAX_QOS": "7"}, "UCOMQTT_MAX_QOS: max_qos must be from 0 to 2, not 7"),
    ({"RETAIN_AVAILABLE": "no"}, "UCOMQTT_RETAIN_AVAILABLE: retain_available must be true or false, not 'no'"),
    ({"PORT": "70000"}, "UCOMQTT_PORT: listener default: port must be from 0 to 65535, not 70000"),
    ({"HOST": "300.1.2.3"}, "UCOMQTT_HOST: listener default: host is no IP address: '300.1.2.3'"),
    ({"LOG_LEVEL": "loud"}, "UCOMQTT_LOG_LEVEL: log_level must be one of debug, info, warning, error, not 'loud'"),
    ({"STORE": "/nowhere/x.db"}, "UCOMQTT_STORE: store: file /nowhere/x.db: there is no folder /nowhere"),
    ({"CONFIG": "no.toml"}, "UCOMQTT_CONFIG: cannot read no.toml: No such file or directory"),
)


@pytest.mark.parametrize(("variables", "text"), VARIABLES, ids=lambda value: "" if isinstance(value, str) else next(iter(value)))
def test_variables(variables, text, tmp_path):
    variables = {"UCOMQTT_" + name: value for name, value in variables.items()}
    assert run("--check-config", **variables).stderr == "ucomqtt: %s\n" % text
    if "UCOMQTT_MAX_QOS" in variables:  # what is said on the command line is not the variable's mistake
        done = run("--check-config", "--max-qos", "8", **{**variables, "UCOMQTT_MAX_QOS": "7"})
        assert done.stderr == "ucomqtt: max_qos must be from 0 to 2, not 8\n"
    if "UCOMQTT_PORT" in variables:  # beside listeners of a file, too
        path = tmp_path / "broker.toml"
        path.write_text(LAN)
        assert run("--config", str(path), "--check-config", **variables).stderr == "ucomqtt: %s\n" % text


@pytest.mark.parametrize(("host", "said"), (
    ("::1", "listening on this machine only"), ("127.0.0.1", "listening on this machine only"),
    ("unix", "listening on this machine only"), ("0.0.0.0", "only clients on this machine may connect"),
    ("::", "only clients on this machine may connect"),
))  # fmt: skip
def test_what_a_start_says_of_who_may_connect(host, said, tmp_path):
    path = tmp_path / "broker.toml"
    path.write_text('[[listener]]\ntype = "unix"\nfile = "socket"\n')
    options = ["--config", str(path)] if host == "unix" else ["--host", host, "--port", "0"]
    process = subprocess.Popen([sys.executable, "-m", "port.cpython", *options], cwd=ROOT, env=environment(), text=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # fmt: skip
    try:
        line = ""
        while "; --" not in line:
            line = process.stderr.readline()
            assert line, process.wait(TIMEOUT)
        assert said in line
    finally:
        process.terminate()
        process.wait(TIMEOUT)
        process.stderr.close()


# -- TOML --------------------------------------------------------------------------------------------

# The file, the line told, what is said of it.
FILES = (
    ("max_conections = 5", 1, "unknown option max_conections, did you mean max_connections?"),
    ("max_qos = 1\nmax_queued = 5", 2, "unknown option max_queued, did you mean max_queued_messages?"),
    ("[bridge]\nx = 1", 1, "unknown option bridge"),
    ("# qos\n\nmax_qos = 3", 3, "max_qos must be from 0 to 2, not 3"),
    ("log_level = 'loud'", 1, "log_level must be one of debug, info, warning, error, not 'loud'"),
    ("port = '1883'", 1, "port must be a whole number, not '1883'"),
    ("[listener]\nid = 'a'", 1, "listener must be a list of tables: [[listener]] in place of [listener]"),
    ("[auth]\ntype = 'allow'", 1, "auth must be a list of tables: [[auth]] in place of [auth]"),
    ("\n[[listner]]\nport = 1\n[[listner]]", 2, "unknown option listner, did you mean listener?"),
    ("max_qos = 1\n[[xyzzy]]\nuser = 'a'", 2, "unknown option xyzzy"),
    ("port = 70000\n" + LAN + "port = 1900", 1, "listener default: port must be from 0 to 65535, not 70000"),
    (LAN + "type = 'ws'", 3, TYPE + "'ws', which is websocket"),
    (LAN + "type = 'wss'", 3, TYPE + "'wss', which is websocket with a table tls"),
    (LAN + "type = 'mqtts'", 3, TYPE + "'mqtts', which is tcp with a table tls"),
    (LAN + "type = 'tls'", 3, TYPE + "'tls', which is tcp with a table tls"),
    (LAN + "type = 5", 3, "listener lan: type must be one of http, tcp, unix, websocket, not 5"),
    (LAN + "type = 'unix'\nfile = 'x'\nmode = 660", 5,
     "listener lan: mode must be a string of octal digits such as \"660\", not 660"),
    (LAN + "type = 'quic'", 3, "listener lan: type must be one of http, tcp, unix, websocket, not 'quic'"),
    (LAN + "prot = 1", 3, "listener lan: unknown key prot, did you mean port?"),
    (LAN + "port = 70000", 3, "listener lan: port must be from 0 to 65535, not 70000"),
    (LAN + "host = '300.1.2.3'", 3, "listener lan: host is no IP address: '300.1.2.3'"),
    (LAN + "max_sessions = 5", 3, "listener lan: max_sessions holds for the whole broker, set it there"),
    (LAN + "paths = ['/']", 3, "listener lan: paths is for type websocket or http only"),
    (LAN + "auth = ['users']", 3, "listener lan: unknown auth users, there is none"),
    (LAN + "auth = ['user']\n[[auth]]\ntype = 'users'", 3, "listener lan: unknown auth user, did you mean users?"),
    (LAN + "trusted_proxies = ['10.0.0']", 3, "listener lan: trusted_proxies: is for listeners with proxy_protocol"),
    (LAN + "proxy_protocol = true\ntrusted_proxies = ['10.0.0']", 4,
     "listener lan: trusted_proxies: '10.0.0' does not appear to be an IPv4 or IPv6 network"),
    (LAN + LAN, 4, "listener lan: there are two with this id"),
    ("[[listener]]\n[[listener]]\nhost = '0.0.0.0'", 2, "listener tcp2: port is that of listener tcp already: 1883"),
    ("[[listener]]\nport = 1900\n[[listener]]\nid = 'web'\ntype = 'websocket'\nport = 1900", 6,
     "listener web: port is that of listener tcp already: 1900"),
    ("port = 1900\n" + LAN + "port = 1900", 4, "listener lan: port is that of listener default already: 1900"),
    (LAN + "tls = { certificate = 'no.pem', key = 'no.key' }", 3,
     "listener lan: tls: certificate DIR/no.pem: No such file or directory"),
    (LAN + "[listener.tls]\ncertificate = 'no.pem'\nkye = 'no.key'", 5, "listener lan: tls: unknown key kye, did you mean key?"),
    (LAN + "[listener.tls]\ncertificate = 'no.pem'", 3, "listener lan: tls: key is missing"),
    (LAN + "acl = [{ topic = 'a' }, { tpic = 'b' }]", 3, "listener lan, rule 2: unknown key tpic, did you mean topic?"),
    ("[[acl]]\nallow = true\ntopics = ['a']", 3, "acl, rule 1: unknown key topics, did you mean topic?"),
    ("[[acl]]\ntopic = 'a'\nmethod = 'b'", 3, "acl, rule 1: unknown key method, there are allow, actions, topic, user, "
     "client_id, address, qos, retain"),
    ("[[acl]]\ntopic = 'a'\nactions = ['subscribe', 'publsh']", 3, "acl, rule 1: unknown action publsh, did you mean publish?"),
    ("[[auth]]\nname = 'x'", 1, "auth, entry 1: type is missing"),
    ("[[auth]]\ntype = 'allow'\n[[auth]]\ntype = 'allow'", 3, "auth, entry 2: there are two with the name allow"),
    ("[[auth]]\ntype = 'ldap'", 2, "auth ldap: unknown type ldap, there are allow, deny, password_file, users, certificate, redis, "
     "http, mysql, postgresql, jwt"),
    ("[[auth]]\ntype = 'password_file'", 1, "auth password_file: file is missing"),
    ("[[auth]]\ntype = 'password_file'\nfile = 'no.txt'", 3, "cannot read DIR/no.txt: No such file or directory"),
    ("[[auth]]\ntype = 'users'\nusers = { bob = 'RECORD', ann = 'secret' }", 3, "auth users: users: ann: unknown scheme, or not hashed"),
    ("[[auth]]\ntype = 'certificate'\nfeld = 'cn'", 3, "auth certificate: unknown key feld, did you mean field?"),
    ("[[auth]]\ntype = 'http'\nuser_ulr = 'http://x/'", 3, "auth http: unknown key user_ulr, did you mean user_url?"),
    ("[[acl]]\ntopic = 'a'\n[[acl]]\ntopic = 'a#'", 4, "acl, rule 2: topic in an ACL rule must be a topic filter, not 'a#'"),
    ("[[acl]]\ntopic = 'home/%x/#'", 2, "acl, rule 1: %x in the topic of an ACL rule stands for nothing, there are %u and %c"),
    ("[[acl]]\ntopic = 'a'\nactions = ['read']", 3, "acl, rule 1: unknown action read, there are publish, receive, "
     "subscribe, subscribe_only"),
    ("acl_file = 'no.acl'", 1, "cannot read DIR/no.acl: No such file or directory"),
    ("[[client_limits]]\nuser = 'a'\n[[client_limits]]\nuser = 'b'\nmax_qos = 9", 5,
     "client_limits, entry 2: max_qos must be from 0 to 2, not 9"),
    ("[[client_limits]]\nmax_qos = 1", 1, "client_limits, entry 1: user or client_id is needed"),
    ("[store]\ntype = 'sqlite'", 1, "store: file is missing"),
    ("[store]\ntype = 'sqlite'\nfile = 'x'\ndurabilty = 'sync'", 4, "store: unknown key durabilty, did you mean durability?"),
    ("[store]\ntype = 'sqllite'", 2, "store: type must be one of memory, sqlite, redis, not 'sqllite'"),
    ("[store]\nfile = 'x'", 2, "store: file is for type sqlite, not memory"),
)  # fmt: skip


@pytest.mark.parametrize(("text", "line", "message"), FILES, ids=lambda value: value if isinstance(value, str) else "")
def test_files(text, line, message, tmp_path):
    """A start and --check-config say the same; what a start says is looked at, as that is less to wait for."""
    from port.cpython.__main__ import _server
    from port.cpython.config import config_file
    from port.cpython.config.config_sources import ConfigError

    path = tmp_path / "broker.toml"
    path.write_text(text.replace("RECORD", RECORD))
    with pytest.raises(ConfigError) as found:
        _server(config_file.check(config_file.gather(config_file.parser().parse_args(["--config", str(path)]), {})))
    said = str(found.value)
    assert said.startswith("%s:%d: " % (path, line)), said
    assert said.partition(": ")[2] == message.replace("DIR", str(tmp_path)), said
    assert "secret" not in said


# What only the machine can tell.
MACHINE = (
    ("[store]\ntype = 'sqlite'\nfile = 'no/x.db'", 3, "store: file DIR/no/x.db: there is no folder DIR/no"),
    ("[store]\ntype = 'sqlite'\nfile = 'broker.toml'", 3, "store: file DIR/broker.toml: is no SQLite database"),
    (LAN + "host = '192.0.2.77'", 3, "listener lan: host 192.0.2.77: Cannot assign requested address"),
    (LAN + "type = 'unix'\nfile = 'no/x.sock'", 4, "listener lan: file DIR/no/x.sock: there is no folder DIR/no"),
    (LAN + "type = 'unix'\nfile = '%s'" % ("x" * 120), 4,
     "listener lan: file DIR/%s: a Unix socket's file has a name of 107 bytes at most" % ("x" * 120)),
    (LAN + "type = 'unix'\nfile = 'broker.toml'", 4, "listener lan: file DIR/broker.toml: the file exists and is no socket"),
)  # fmt: skip


@pytest.mark.parametrize(("text", "line", "message"), MACHINE, ids=lambda value: value if isinstance(value, str) else "")
def test_check_config_looks_at_the_machine(text, line, message, tmp_path):
    path = tmp_path / "broker.toml"
    path.write_text(text)
    done = run("--config", str(path), "--check-config")
    assert done.returncode == 2
    assert done.stderr == "ucomqtt: %s:%d: %s\n" % (path, line, message.replace("DIR", str(tmp_path)))
    assert [found.name for found in tmp_path.iterdir()] == ["broker.toml"]


def test_a_listener_more_than_was_meant(tmp_path):
    path = tmp_path / "broker.toml"
    path.write_text("max_qos = 1\nport = 1900\n" + LAN)
    done = run("--config", str(path), "--check-config")
    text = "%s:2: host and port at the top level open a listener of their own, `default`, beside those of [[listener]]" % path
    assert done.returncode == 0 and "note: " + text in done.stderr


# -- a board's JSON -----------------------------------------------------------------------------------


def test_json(tool, tmp_path):
    path = tmp_path / "broker.json"
    for values, text in (
        ({"prot": 1}, "unknown option prot, did you mean port?"),
        ({"bridge": {}}, "unknown option bridge"),
        ({"acl": [{"topic": "home/%x/#"}]}, "acl, rule 1: %x in the topic of an ACL rule stands for nothing, there are %u and %c"),
        ({"client_limits": [{"user": "a", "max_qs": 1}]}, "client_limits, entry 1: unknown key max_qs, did you mean max_qos?"),
        ({"acl": [{"topics": ["a"]}]}, "acl, rule 1: unknown key topics, did you mean topic?"),
        ({"listner": [{}]}, "unknown option listner, did you mean listener?"),
        ({"listener": [{"type": "mqtts"}]},
         "listener mqtts: type must be one of http, tcp, unix, websocket, not 'mqtts', which is tcp with a table tls"),
        ({"listener": [{"type": "quic"}]}, "listener quic: type must be one of http, tcp, unix, websocket, not 'quic'"),
    ):
        path.write_text(json.dumps(values))
        done = subprocess.run([tool("micropython"), "-m", "port.micropython", "--config", str(path)], cwd=ROOT, text=True, timeout=60,
                              capture_output=True, env=environment())
        assert (done.returncode, done.stdout) == (2, "ucomqtt: %s\n" % text), done.stdout
    for arguments, text in (
        (("--hots", "x"), "unknown argument --hots, did you mean --host?"),
        (("-p", "1883"), "unknown argument -p, did you mean --port?"),
        (("-c", "broker.json"), "unknown argument -c, did you mean --config?"),
        (("broker.json",), "unknown argument broker.json, did you mean --config broker.json?"),
    ):
        done = subprocess.run([tool("micropython"), "-m", "port.micropython", *arguments], cwd=ROOT, text=True, timeout=60,
                              capture_output=True, env=environment())
        assert done.stdout == "ucomqtt: %s\n" % text
    path.write_text(json.dumps({"port": 1900, "listener": [{"port": 1901}]}))
    done = subprocess.run([tool("micropython"), "-m", "port.micropython", "--config", str(path), "--check-config"], cwd=ROOT, text=True,
                          timeout=60, capture_output=True, env=environment())
    assert done.stdout == ("ucomqtt: note: host and port open a listener of their own, beside those of `listener`\n"
                           "ucomqtt: the configuration is right\n")


FLASH = 'store must be a Store such as FlashStore("/store") of port.micropython.flash, not '


def test_programs_of_boards(tool):
    script = """
import asyncio
from port.core.auth.authenticator import Authenticator
from port.micropython import Server
class Late(Authenticator):
    async def authenticate(self, client, user, password):
        return 0
class Talk(Authenticator):
    async def exchange(self, client, data):
        return 0, None
def listen(*args, **more):
    return lambda: Server().listen(*args, **more)
for call in (lambda: Server(max_conections=5), lambda: Server().publish("a", 21.5), lambda: Server(store="/store"),
             lambda: Server(store=Late), lambda: Server(100), lambda: Server(log=5), lambda: Server(host="0.0.0.0"),
             listen(1883), listen(tls=True), listen(auth="users"), listen(auth=["users"]), listen(auth=[Late]),
             listen(auth=[print]), listen(auth=[Late()]), listen("127.0.0.1", 1884, auth=[Talk()])):
    try:
        call()
    except (TypeError, ValueError) as e:
        print(e)
async def main():
    server = Server()
    await server.start()
    try:
        server.listen("127.0.0.1", 1883)
    except RuntimeError as e:
        print(e)
    await server.stop()
    server = Server()
    server.listen("127.0.0.1", 1884)
    server.authenticators.append(Late)
    try:
        await server.start()
    except TypeError as e:
        print(e)
asyncio.run(main())
"""
    done = subprocess.run([tool("micropython"), "-c", script], cwd=ROOT, text=True, timeout=60, capture_output=True, env=environment())
    assert done.stdout.splitlines() == [
        "unknown option max_conections, did you mean max_connections?",
        "str or bytes wanted, not 21.5",
        FLASH + "'/store'",
        FLASH + "<class 'Late'>",
        "Server takes options by name, as in Server(max_connections=100), or an Options object, not 100",
        "log must be a function (level, text, *args), not 5",
        "host is no option of Server but of a listener: server.listen(host=...)",
        "listener tcp: host must be a string, not 1883",
        "tls must be an SSLContext, or a dict with certificate and key, not True",
        "auth must be a list of Authenticator objects, not 'users'",
        "auth must hold Authenticator objects, not 'users'",
        "auth must hold Authenticator objects, not <class 'Late'>: it is a class, and is to be called",
        "auth must hold Authenticator objects, not <function>",
        LATE.replace("%r", "<Late without a name>"),
        LATE.replace("authenticate of %r", "exchange of <Talk without a name>"),
        "W there is no listener, nobody can connect: listen() before start() adds one",
        "the server has started: listen() comes before start()",
        "the authenticators of listener tcp must hold Authenticator objects, not <class 'Late'>: it is a class, and is to be "
        "called",
    ], done.stderr  # fmt: skip


# -- a program -----------------------------------------------------------------------------------------


new: Any = Server  # what is wrong here would not pass mypy


async def answer(*_):
    return None


class Few(Authenticator):
    def authenticate(self, client):  # type: ignore[override]
        return 0


class Late(Authenticator):
    async def authenticate(self, client, user, password):  # type: ignore[override]
        return 0


FEW, LATER, ALLOW = Few(), Late(), AllowAll()
broker: Any = Broker
SQLITE = 'store must be a Store such as SQLiteStore("broker.db") of port.cpython.stores.sqlite, not %r'
LATE = "authenticate of %r cannot be async: authenticate answers PENDING instead, and client.authenticated(code) is called later"
PROGRAM = (
    (lambda: new(0), TypeError, "Server takes options by name, as in Server(max_connections=100), or an Options object, not 0"),
    (lambda: new(Options(), max_qos=1), TypeError, "options by name, or an Options object, not both"),
    (lambda: new(store="broker.db"), TypeError, SQLITE % "broker.db"),
    (lambda: new(store=Store), TypeError, SQLITE % Store),
    (lambda: new(log="broker.log"), TypeError, "log must be a function (level, text, *args), not 'broker.log'"),
    (lambda: broker(clock=5), TypeError, "clock must be a function, not 5"),
    (lambda: broker(store="x"), TypeError, SQLITE % "x"),
    (lambda: broker(5), TypeError, "Broker takes options by name, as in Broker(max_connections=100), or an Options object, "
     "not 5"),
    (lambda: new().listen(tls=True), TypeError, "tls must be an SSLContext, or a dict with certificate and key, not True"),
    (lambda: new().listen(1883), ValueError, "listener tcp: host must be a string, not 1883"),
    (lambda: new().listen(auth="users"), TypeError, "auth must be a list of Authenticator objects, not 'users'"),
    (lambda: new().listen(auth=ALLOW), TypeError, "auth must be a list of Authenticator objects, not %r" % ALLOW),
    (lambda: new().listen(auth=["users"]), TypeError, "auth must hold Authenticator objects, not 'users'"),
    (lambda: new().listen(auth=[AllowAll]), TypeError, "auth must hold Authenticator objects, not %r: it is a class, and is "
     "to be called" % AllowAll),
    (lambda: new().listen(auth=[print]), TypeError, "auth must hold Authenticator objects, not %r" % print),
    (lambda: new().listen(auth=[FEW]), TypeError, "authenticate of %r must take (client, user, password), not (client)" % FEW),
    (lambda: new().listen(auth=[LATER]), TypeError, LATE % LATER),
    (lambda: new(100), TypeError, "Server takes options by name, as in Server(max_connections=100), or an Options object, not 100"),
    (lambda: new(host="0.0.0.0"), ValueError, "host is no option of Server but of a listener: server.listen(host=...)"),
    (lambda: new(tls={}), ValueError, "tls is no option of Server but of a listener: server.listen(tls=...)"),
    (lambda: new(max_conections=5), ValueError, "unknown option max_conections, did you mean max_connections?"),
    (lambda: new().listen(prot=5), ValueError, "listener tcp: unknown key prot, did you mean port?"),
    (lambda: new().listen(type="quic"), ValueError, "listener quic: type must be one of http, tcp, unix, websocket, not 'quic'"),
    (lambda: new().set_acl([{"tpic": "a"}]), ValueError, "acl, rule 1: unknown key tpic, did you mean topic?"),
    (lambda: new().publish("a", 21.5), TypeError, "str or bytes wanted, not 21.5"),
    (lambda: new().publish("a/#", "x"), ValueError, "invalid topic name 'a/#'"),
    (lambda: new().publish("a", "x", properties={"content_type": "x"}), ValueError,
     "unknown property 'content_type': they are numbers, CONTENT_TYPE of port.core.wire.properties is 0x03"),
    (lambda: new().publish("a", "x", properties={3: 5}), ValueError, "property 0x03 cannot be 5"),
    (lambda: new().publish("a", "x", properties={0x26: "x"}), ValueError, "property 0x26 cannot be 'x'"),
    (lambda: new().publish("a", "x", properties={99: "x"}), ValueError, "unknown property 99"),
    (lambda: new().subscribe("a/#/b", print), ValueError, "invalid topic filter 'a/#/b'"),
    (lambda: new().subscribe("a", None), TypeError, "a function is wanted, not None"),
    (lambda: new().unsubscribe("a/#"), TypeError, "what subscribe() has returned is wanted, not 'a/#'"),
    (lambda: new().on("mesage", print), ValueError, "unknown event mesage, there are connect, disconnect, subscribe, unsubscribe, "
     "process_message, message, error, storage"),
    (lambda: new().on("message", answer), TypeError, "the hook answer of message cannot be async: its answer is needed at once"),
    (lambda: new().on("subscribe", answer), TypeError, "the hook answer of subscribe cannot be async: its answer is needed at once"),
    (lambda: new().on("connect", 5), TypeError, "a function is wanted, not 5"),
)  # fmt: skip


@pytest.mark.parametrize(("call", "error", "text"), PROGRAM, ids=lambda value: value if isinstance(value, str) else "")
def test_programs(call, error, text):
    with pytest.raises(error) as found:
        call()
    assert str(found.value) == text


async def test_listeners_come_before_the_start(caplog):
    server = Server()
    async with server:
        assert "there is no listener, nobody can connect: listen() before start() adds one" in caplog.text
        with pytest.raises(RuntimeError, match="the server has started: listen\\(\\) comes before start\\(\\)"):
            server.listen("127.0.0.1", 0)
        with pytest.raises(RuntimeError, match="the server has started already"):
            await server.start()
        assert repr(server) == "<Server at no place, 0 clients>"
    server.listen("127.0.0.1", 0)
    async with server:
        assert len(server.addresses) == 1


def dialled(address, *packets):
    """A connection on which this was sent, and what came first."""
    sock = socket.create_connection(address, TIMEOUT)
    sock.sendall(b"".join(packets))
    return sock, sock.recv(1000)


def hello(client_id="c", user=None, password=None, version=4):
    return encode({"type": CONNECT, "client_id": client_id.encode(), "clean_start": True, "keep_alive": 60, "user": user,
                   "password": password, "will": None, "properties": {}}, version)  # fmt: skip


async def test_async_callbacks_are_taken_away_one_by_one():
    class Unhashable:
        __hash__ = None  # type: ignore[assignment]

        async def __call__(self, client, *_):
            came.append(client)

    came: list[Any] = []
    callback: Any = Unhashable()
    server = Server()
    for _ in range(3):
        server.on("connect", callback)
        server.on("disconnect", callback)
        server.off("connect", callback)
        server.off("disconnect", callback)
    with pytest.raises(ValueError, match="no such callback for event connect"):
        server.off("connect", callback)
    server.on("connect", callback)
    server.on("disconnect", callback)
    server.off("connect", callback)
    server.emit("connect", "c")
    server.emit("disconnect", "d", 0)
    while not came:
        await asyncio.sleep(0)
    assert came == ["d"]
    watched = weakref.ref(callback)
    server.off("disconnect", callback)
    while asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.sleep(0)
    del callback
    gc.collect()
    assert watched() is None


async def test_async_callbacks_are_awaited(caplog):
    server = Server()
    server.listen("127.0.0.1", 0)
    came: asyncio.Queue[object] = asyncio.Queue()

    async def on_message(message):
        await asyncio.sleep(0)
        came.put_nowait((message.topic, message.payload))

    async def on_connect(client):
        await asyncio.sleep(0)
        came.put_nowait(client.client_id)
        raise ValueError("from a callback")

    async with server:
        handle = server.subscribe("a/+", on_message)
        server.on("connect", on_connect)
        server.publish("a/b", "x")
        assert await asyncio.wait_for(came.get(), TIMEOUT) == ("a/b", b"x")
        sock, connack = await asyncio.to_thread(dialled, server.addresses[0], hello())
        assert connack[3] == 0 and await asyncio.wait_for(came.get(), TIMEOUT) == b"c"
        server.off("connect", on_connect)
        server.unsubscribe(handle)
        while "the callback on_connect failed: ValueError" not in caplog.text:
            await asyncio.sleep(0)
        sock.close()
    assert "Traceback" in caplog.text


async def test_authenticators_are_looked_at_before_the_start():
    for wrong, text in ((Late, "Late'>: it is a class"), ("users", "not 'users'"), (LATER, "cannot be async")):
        server: Any = Server(anonymous="all")
        server.listen("127.0.0.1", 0)
        server.authenticators.append(wrong)
        with pytest.raises(TypeError, match="the authenticators of listener tcp must hold .*%s|%s" % (text, text)):
            await server.start()
        assert server.addresses == []


@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")
async def test_async_authenticators_let_nobody_in(caplog):
    """Those, too, that come too late to be looked at."""
    server = Server(anonymous="all")
    server.listen("127.0.0.1", 0)
    async with server:
        server.authenticators.append(LATER)
        sock, connack = await asyncio.to_thread(dialled, server.addresses[0], hello(user=b"ann"))
        sock.close()
    assert connack[3] and "<Late without a name> answers <coroutine object" in caplog.text
    assert ", not 0, None, PENDING or " in caplog.text


# -- clients -------------------------------------------------------------------------------------------

CONFIG = """
log_format = "FORMAT"
max_connections_per_address = 0
[[auth]]
type = "users"
users = { ann = "RECORD" }
[[listener]]
port = 0
[[listener]]
id = "web"
type = "websocket"
port = 0
[[listener]]
id = "pages"
type = "http"
port = 0
[[acl]]
topic = "mine/#"
"""


def ask(address, target, *fields):
    """The answer to a request."""
    lines = ["GET %s HTTP/1.1" % target, "Host: 127.0.0.1", *fields, "", ""]
    with socket.create_connection(address, TIMEOUT) as sock:
        sock.sendall("\r\n".join(lines).encode())
        return sock.recv(1000)


def upgrade(address, target, origin):
    fields = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
              "Sec-WebSocket-Protocol: mqtt")  # fmt: skip
    return ask(address, target, *fields, *(["Origin: " + origin] if origin else []))


@pytest.mark.parametrize("form", ("text", "json"))
def test_clients_refusals_are_in_the_log(form, tmp_path):
    path = tmp_path / "broker.toml"
    path.write_text(CONFIG.replace("FORMAT", form).replace("RECORD", RECORD))
    process = subprocess.Popen(
        [sys.executable, "-m", "port.cpython", "--config", str(path)], cwd=ROOT, env=environment(),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        places: dict[str, tuple[str, int]] = {}
        while len(places) < 3:
            line = process.stderr.readline()
            assert line, process.wait(TIMEOUT)
            match = re.search(r"listener \w+ \((\w+)\): listening on 127\.0\.0\.1:(\d+)", line)
            if match:
                places[match[1]] = "127.0.0.1", int(match[2])
        for packets in (
            [hello(user=b"ann", password=b"S3cr3t")], [hello(user=b"bob", password=b"S3cr3t")], [hello("nobody")],
            [hello(user=b"ann", password=b"right"), encode({"type": SUBSCRIBE, "packet_id": 1, "filters": [(b"yours/#", 0)]}, 4)],
        ):  # fmt: skip
            sock, _ = dialled(places["tcp"], *packets)
            sock.settimeout(TIMEOUT)
            if len(packets) > 1:
                while b"\x90\x03\0\1\x80" not in _:
                    _ += sock.recv(100)
            sock.close()
        assert b"404" in upgrade(places["websocket"], "/foo", "")
        assert b"403" in upgrade(places["websocket"], "/mqtt", "https://elsewhere.example")
        assert b"401" in ask(places["http"], "/", "Authorization: Basic YW5uOlMzY3IzdA==")
        process.terminate()
        text = process.stderr.read()
        assert process.wait(TIMEOUT) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
    assert "S3cr3t" not in text
    found = text.splitlines()
    wanted = (
        ("c (user ann) ", ": bad user name or password, says authenticator users (0x86)", 0x86),
        ("c (user bob) ", ": bad user name or password, no authenticator knows this user: users (0x86)", 0x86),
        ("nobody ", ": not authorized, no authenticator lets it in and anonymous is auto, which means none with auth (0x87)", 0x87),
        ("c (user ann) ", ": subscribing to yours/# is refused: not authorized, no rule of acl allows it (0x87)", 0x87),
        ("- ", ": WebSocket handshake refused: 404, none of the listener's paths: /foo (0x87)", 0x87),
        ("- ", ": WebSocket handshake refused: 403, none of the listener's origins: https://elsewhere.example (0x87)", 0x87),
        ("- (user ann) ", ": page refused: 401, user name and password are needed (listener pages)", None),
    )
    for begins, ends, code in wanted:
        if form == "text":
            assert any(re.fullmatch(r"[-\d]{10} [\d:]{8},\d{3} WARNING %s127\.0\.0\.1:\d+%s" % (re.escape(begins), re.escape(ends)), line)
                       for line in found), (ends, text)  # fmt: skip
            continue
        lines = [json.loads(line) for line in found]
        line = next(line for line in lines if line["message"].startswith(begins) and line["message"].endswith(ends))
        assert line["level"] == "warning" and re.fullmatch(r"[-\d]{10}T[\d:]{8}\.\d{3}\+00:00", line["time"])
        if code is not None:
            assert line["reason_code"] == code and line["address"].startswith("127.0.0.1:")
            assert line["listener"] == ("web" if "WebSocket" in ends else "tcp")
            assert line.get("user") == (begins.partition("user ")[2][:3] or None)
            assert line["client_id"] == begins.split()[0].strip("-")
    if form == "text":  # the time is told of every line
        assert all(re.match(r"[-\d]{10} [\d:]{8},\d{3} (INFO|WARNING) ", line) for line in found), text


def test_clients_refusals_are_in_a_boards_log(tool, tmp_path):
    tool("micropython")
    port = free_port()
    path = tmp_path / "broker.json"
    path.write_text(json.dumps({"auth": [{"type": "users", "users": {"ann": RECORD}}], "acl": [{"topic": "mine/#"}],
                                "listener": [{"type": "websocket", "port": port}]}))
    with ServerProcess("micropython", "--config", str(path)) as broker:
        place = "127.0.0.1", broker.port
        subscribe = encode({"type": SUBSCRIBE, "packet_id": 1, "filters": [(b"yours/#", 0)]}, 4)
        for packets in ([hello(user=b"bob", password=b"S3cr3t")], [hello(user=b"ann", password=b"right"), subscribe]):
            sock, came = dialled(place, *packets)
            sock.settimeout(TIMEOUT)
            while len(packets) > 1 and b"\x90\x03\0\1\x80" not in came:
                came += sock.recv(100)
            sock.close()
        assert b"404" in upgrade(("127.0.0.1", port), "/foo", "")
        broker.signal(signal.SIGINT)
        assert broker.wait() == 0
        text = broker.output
    for line in (
        r"W c \(user bob\) 127\.0\.0\.1:\d+: bad user name or password, no authenticator knows this user: users \(0x86\)",
        r"W c \(user ann\) 127\.0\.0\.1:\d+: subscribing to yours/# is refused: not authorized, no rule of acl allows it \(0x87\)",
        r"W - 127\.0\.0\.1:\d+: WebSocket handshake refused: 404, none of the listener's paths: /foo \(0x87\)",
    ):
        assert re.search("^%s$" % line, text, re.MULTILINE), text
    assert "S3cr3t" not in text


async def test_what_happens_all_the_time_is_at_debug(caplog):
    """-vv has subscriptions, -v has not."""
    caplog.set_level(logging.DEBUG, "ucomqtt")
    for debug in (False, True):
        caplog.clear()
        server = Server()
        server.debug = debug
        server.listen("127.0.0.1", 0)
        async with server:
            packet = encode({"type": SUBSCRIBE, "packet_id": 1, "filters": [(b"a/#", 1)]}, 4)
            sock, _ = await asyncio.to_thread(dialled, server.addresses[0], hello(), packet)
            while not server.sessions[b"c"].subscriptions:
                await asyncio.sleep(0)
            sock.close()
        assert ("subscribed to a/#, QoS 1" in caplog.text) is debug

