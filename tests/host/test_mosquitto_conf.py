"""The translation of mosquitto.conf: every option has its place, what is printed is taken, and it does what mosquitto does."""

import itertools
import re
import shutil
import ssl
import subprocess
import sys
import threading
import time
import tomllib
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from certificates import certificates  # noqa: F401
from port.cpython import mosquitto_conf
from port.cpython.commands import from_mosquitto
from server_process import environment, free_port
from tests.host.drivers import TIMEOUT
from toolchain import ROOT

UCOMQTT = [sys.executable, "-m", "port.cpython"]
CERTIFICATES = "certfile server.pem\nkeyfile server.key\n"
WANTED = "cafile ca.pem\nrequire_certificate true\n"
TLS = {"certificate": "server.pem", "key": "server.key"}

# What is said in mosquitto's words, and what of it in ours; "listener": keys of the last one, None: lost, {}: nothing is needed.
EXAMPLES: "dict[str, tuple[str, dict[str, Any] | None]]" = {
    "acl_file": ("acl_file rules.acl", {"acl_file": "rules.acl"}),
    "allow_anonymous": (
        "listener 1884\nallow_anonymous true",
        {"anonymous": "all", "auth": [{"name": "allow", "type": "allow"}]},
    ),
    "allow_duplicate_messages": ("allow_duplicate_messages true", None),
    "allow_zero_length_clientid": ("allow_zero_length_clientid false", {"allow_zero_length_clientid": False}),
    "auth_plugin_deny_special_chars": ("auth_plugin_deny_special_chars true", {}),
    "auto_id_prefix": ("auto_id_prefix made-", {"auto_id_prefix": "made-"}),
    "autosave_interval": ("autosave_interval 1800", {}),
    "autosave_on_changes": (
        "persistence true\nautosave_on_changes true",
        {"store": {"type": "sqlite", "file": "ucomqtt.db", "durability": "sync"}},
    ),
    "check_retain_source": ("check_retain_source false", {"check_retain_source": False}),
    "clientid_prefixes": ("clientid_prefixes secure-", {"client_id": "secure-*"}),
    "connection_messages": ("connection_messages true", {"log_level": "info"}),
    "enable_control_api": ("enable_control_api true", None),
    "global_max_clients": ("global_max_clients 100", {"max_sessions": 100}),
    "global_max_connections": ("global_max_connections 100", {"max_connections": 100}),
    "global_plugin": ("global_plugin plugin.so", None),
    "plugin": ("plugin plugin.so", None),
    "plugin_load": ("plugin_load name plugin.so", None),
    "plugin_use": ("plugin_use name", None),
    "auth_plugin": ("auth_plugin plugin.so", None),
    "include_dir": ("include_dir conf.d", {"max_packet_size": 3000}),
    "log_dest": ("log_dest stderr", {}),
    "log_facility": ("log_facility 5", {}),
    "log_timestamp": ("log_timestamp true", {}),
    "log_timestamp_format": ("log_timestamp_format %H:%M", {}),
    "log_type": ("log_type error\nlog_type warning", {"log_level": "warning"}),
    "max_inflight_bytes": ("max_inflight_bytes 1000", {"max_inflight_bytes": 1000}),
    "max_inflight_messages": ("max_inflight_messages 20", {"max_inflight": 20, "receive_maximum": 20}),
    "max_keepalive": ("max_keepalive 60", {"max_keep_alive": 60}),
    "max_packet_size": ("max_packet_size 2000", {"max_packet_size": 2000}),
    "max_queued_bytes": ("max_queued_bytes 4096", {"max_queued_bytes": 4096}),
    "max_queued_messages": ("max_queued_messages 0", {"max_queued_messages": 0}),
    "memory_limit": ("memory_limit 100000000", {"max_memory": 100000000}),
    "message_size_limit": ("message_size_limit 1000", {"message_size_limit": 1000}),
    "password_file": (
        "password_file users.txt",
        {"auth": [{"name": "password_file", "type": "password_file", "file": "users.txt"}]},
    ),
    "per_listener_settings": (
        "per_listener_settings true\nlistener 1884\npassword_file users.txt\nlistener 1885\nallow_anonymous true",
        {"listener": {"host": "::", "port": 1885, "auth": ["allow"], "anonymous": "all"}},
    ),
    "persistence": ("persistence true", {"store": {"type": "sqlite", "file": "ucomqtt.db"}}),
    "retained_persistence": ("retained_persistence true", {"store": {"type": "sqlite", "file": "ucomqtt.db"}}),
    "persistence_file": ("persistence_file mosquitto.db", {}),
    "persistence_location": (
        "persistence true\npersistence_location conf.d/",
        {"store": {"type": "sqlite", "file": "conf.d/ucomqtt.db"}},
    ),
    "persistent_client_expiration": ("persistent_client_expiration 2m", {"max_session_expiry": 5184000}),
    "pid_file": ("pid_file /run/x.pid", {}),
    "user": ("user mosquitto", {}),
    "queue_qos0_messages": ("queue_qos0_messages true", {"queue_qos0_messages": True}),
    "retain_available": ("retain_available false", {"retain_available": False}),
    "retain_expiry_interval": ("retain_expiry_interval 5", {}),
    "retry_interval": ("retry_interval 5", {}),
    "set_tcp_nodelay": ("set_tcp_nodelay true", {}),
    "sys_interval": ("sys_interval 11", {"sys_interval": 11}),
    "upgrade_outgoing_qos": ("upgrade_outgoing_qos true", None),
    "listener": ("listener 1884 192.0.2.1", {"listener": {"port": 1884, "host": "192.0.2.1"}}),
    "port": ("port 1884", {"listener": {"port": 1884, "host": "::"}}),
    "bind_address": ("bind_address 192.0.2.1", {"listener": {"port": 1883, "host": "192.0.2.1"}}),
    "bind_interface": ("bind_interface eth0", None),
    "socket_domain": ("listener 1884\nsocket_domain ipv4", {"listener": {"port": 1884, "host": "0.0.0.0"}}),
    "protocol": (
        "listener 1884\nprotocol websockets",
        {"listener": {"type": "websocket", "port": 1884, "host": "::", "paths": ["*"], "origins": ["*"]}},
    ),
    "websockets_origin": (
        "listener 1884\nprotocol websockets\nwebsockets_origin https://example.org",
        {"listener": {"type": "websocket", "port": 1884, "host": "::", "paths": ["*"], "origins": ["https://example.org"]}},
    ),
    "websockets_headers_size": ("websockets_headers_size 2048", {}),
    "websockets_log_level": ("websockets_log_level 0", {}),
    "packet_buffer_size": ("packet_buffer_size 4096", {}),
    "http_dir": ("http_dir www", None),
    "accept_protocol_versions": (
        "listener 1884\naccept_protocol_versions 4, 5",
        {"listener": {"port": 1884, "host": "::", "accept_protocol_versions": [4, 5]}},
    ),
    "enable_proxy_protocol": (
        "listener 1884 127.0.0.1\nenable_proxy_protocol 2",
        {"listener": {"port": 1884, "host": "127.0.0.1", "proxy_protocol": True}},
    ),
    "proxy_protocol_v2_require_tls": ("proxy_protocol_v2_require_tls false", {}),
    "listener_allow_anonymous": (
        "listener 1884\nlistener 1885\nlistener_allow_anonymous true",
        {"listener": {"port": 1885, "host": "::", "anonymous": "all", "auth": ["allow"]}},
    ),
    "listener_auto_id_prefix": (
        "listener 1884\nlistener_auto_id_prefix x-",
        {"listener": {"port": 1884, "host": "::", "auto_id_prefix": "x-"}},
    ),
    "max_connections": ("listener 1884\nmax_connections 10", {"listener": {"port": 1884, "host": "::", "max_connections": 10}}),
    "max_qos": ("listener 1884\nmax_qos 1", {"listener": {"port": 1884, "host": "::", "max_qos": 1}}),
    "maximum_qos": ("listener 1884\nmaximum_qos 1", {"listener": {"port": 1884, "host": "::", "max_qos": 1}}),
    "max_topic_alias": ("max_topic_alias 5", {"listener": {"port": 1883, "host": "::", "topic_alias_maximum": 5}}),
    "max_topic_alias_broker": (
        "max_topic_alias_broker 5",
        {"listener": {"port": 1883, "host": "::", "outbound_topic_aliases": 5}},
    ),
    "mount_point": ("listener 1884\nmount_point tenant/", {"listener": {"port": 1884, "host": "::", "mount_point": "tenant/"}}),
    "use_username_as_clientid": (
        "listener 1884\nuse_username_as_clientid true",
        {"listener": {"port": 1884, "host": "::", "use_username_as_clientid": True}},
    ),
    "use_identity_as_username": (
        f"listener 8884\n{CERTIFICATES}{WANTED}use_identity_as_username true",
        {
            "auth": [{"name": "certificate", "type": "certificate", "field": "cn"}],
            "anonymous": "none",
            "listener": {"port": 8884, "host": "::", "tls": {**TLS, "client_ca": "ca.pem"}},
        },
    ),
    "use_subject_as_username": (
        f"listener 8884\n{CERTIFICATES}{WANTED}use_subject_as_username true",
        {"auth": [{"name": "certificate", "type": "certificate", "field": "subject"}]},
    ),
    "certfile": (f"listener 8884\n{CERTIFICATES}", {"listener": {"port": 8884, "host": "::", "tls": TLS}}),
    "keyfile": (f"listener 8884\n{CERTIFICATES}", {"listener": {"port": 8884, "host": "::", "tls": TLS}}),
    "cafile": (
        f"listener 8884\n{CERTIFICATES}cafile ca.pem",
        {"listener": {"port": 8884, "host": "::", "tls": {**TLS, "chain": "ca.pem"}}},
    ),
    "capath": ("capath certs", None),
    "require_certificate": (
        f"listener 8884\n{CERTIFICATES}{WANTED}",
        {"listener": {"port": 8884, "host": "::", "tls": {**TLS, "client_ca": "ca.pem"}}},
    ),
    "crlfile": (
        f"listener 8884\n{CERTIFICATES}{WANTED}crlfile crl.pem",
        {"listener": {"port": 8884, "host": "::", "tls": {**TLS, "client_ca": "ca.pem", "crl": "crl.pem"}}},
    ),
    "ciphers": (
        f"listener 8884\n{CERTIFICATES}ciphers ECDHE+AESGCM",
        {"listener": {"port": 8884, "host": "::", "tls": {**TLS, "ciphers": "ECDHE+AESGCM"}}},
    ),
    "ciphers_tls1.3": ("ciphers_tls1.3 TLS_AES_128_GCM_SHA256", None),
    "tls_version": (
        f"listener 8884\n{CERTIFICATES}tls_version tlsv1.3",
        {"listener": {"port": 8884, "host": "::", "tls": {**TLS, "minimum_version": "1.3"}}},
    ),
    "dhparamfile": ("dhparamfile dh.pem", {}),
    "disable_client_cert_date_checks": ("disable_client_cert_date_checks true", None),
    "tls_engine": ("tls_engine x", None),
    "tls_engine_kpass_sha1": ("tls_engine_kpass_sha1 x", None),
    "tls_keyform": ("tls_keyform pem", {}),
    "psk_file": (
        "listener 8884\npsk_file psk.txt\npsk_hint x",
        {"listener": {"port": 8884, "host": "::", "tls": {"psk_hint": "x", "psk_file": "psk.txt"}}},
    ),
    "psk_hint": ("psk_hint x", None),
    **{name: (f"{name} x", None) for name in mosquitto_conf._BRIDGE},
}
PSK = hasattr(ssl.SSLContext, "set_psk_server_callback")

# conf.c of mosquitto 2.1.2, and man mosquitto.conf of 2.0; bridges apart.
OF_MOSQUITTO = set("""\
accept_protocol_versions acl_file allow_anonymous allow_duplicate_messages allow_zero_length_clientid auth_plugin
auth_plugin_deny_special_chars auto_id_prefix autosave_interval autosave_on_changes bind_address bind_interface cafile capath
certfile check_retain_source ciphers ciphers_tls1.3 clientid_prefixes connection_messages crlfile dhparamfile
disable_client_cert_date_checks enable_control_api enable_proxy_protocol global_max_clients global_max_connections
global_plugin http_dir include_dir keyfile listener listener_allow_anonymous listener_auto_id_prefix log_dest log_facility
log_timestamp log_timestamp_format log_type max_connections max_inflight_bytes max_inflight_messages max_keepalive
max_packet_size max_qos max_queued_bytes max_queued_messages max_topic_alias max_topic_alias_broker maximum_qos memory_limit
message_size_limit mount_point packet_buffer_size password_file per_listener_settings persistence persistence_file
persistence_location persistent_client_expiration pid_file plugin plugin_load plugin_use port protocol
proxy_protocol_v2_require_tls psk_file psk_hint queue_qos0_messages require_certificate retain_available
retain_expiry_interval retained_persistence retry_interval set_tcp_nodelay socket_domain sys_interval tls_engine
tls_engine_kpass_sha1 tls_keyform tls_version upgrade_outgoing_qos use_identity_as_username use_subject_as_username
use_username_as_clientid user websockets_headers_size websockets_log_level websockets_origin
""".split())  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch, certificates):  # noqa: F811
    """Where the files are that configurations name, as mosquitto would be started there."""
    made = certificates()
    for name, source in (("server.pem", made.server), ("server.key", made.key), ("ca.pem", made.ca)):
        shutil.copy(source, tmp_path / name)
    (tmp_path / "crl.pem").write_bytes(made.revocations())
    for name in ("users.txt", "rules.acl"):
        (tmp_path / name).write_text("")
    (tmp_path / "psk.txt").write_text("alice:0123456789abcdef0123456789abcdef\n")
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "more.conf").write_text("max_packet_size 3000\n")
    (tmp_path / "conf.d" / "README").write_text("nothing\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def translate(folder, capsys):
    """Translate a text: (exit status, TOML, standard error)."""

    def run(text):
        (folder / "mosquitto.conf").write_text(text)
        status = from_mosquitto.main(["mosquitto.conf"])
        output, errors = capsys.readouterr()
        return status, output, errors

    return run


def relative(value, folder):
    """Values with names of files as they stand in the examples."""
    if isinstance(value, dict):
        return {key: relative(item, folder) for key, item in value.items()}
    if isinstance(value, list):
        return [relative(item, folder) for item in value]
    return value.removeprefix(f"{folder}/") if isinstance(value, str) else value


def is_right(path):
    done = subprocess.run(
        [*UCOMQTT, "check", str(path)], cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=TIMEOUT
    )
    assert done.returncode == 0, done.stderr
    return True


def test_every_option_is_there_once():
    names = [row.option for row in mosquitto_conf.ROWS]
    assert len(names) == len(set(names)) and set(names) == set(EXAMPLES)
    assert set(names) - set(mosquitto_conf._BRIDGE) == OF_MOSQUITTO
    for row in mosquitto_conf.ROWS:
        assert row.note or row.make not in (mosquitto_conf.LOST, mosquitto_conf.NOTHING), "why is there no %s?" % row.option


@pytest.mark.parametrize("option", EXAMPLES)
def test_each_option(translate, folder, option):
    text, expected = EXAMPLES[option]
    status, output, errors = translate(text + "\n")
    if expected is None or "psk_file" in text and not PSK:
        assert status == 3 and f"{option}: " in errors or "psk" in option and "psk" in errors, errors
        assert all(line in output for line in errors.splitlines()) or errors.endswith("no listener is left\n")
        return
    assert (status, errors) == (0, "")
    values = relative(tomllib.loads(output), folder)
    for key, value in expected.items():
        if key == "listener":
            found = values["listener"][-1]
            own = {name: found[name] for name in found if name in value or name not in ("auth", "anonymous")}
            assert own == value
        else:
            assert values[key] == value
    if not expected:
        assert f": {option}: " in output


def test_what_is_printed_is_taken(translate, folder):
    """All examples that are carried over, in files as few as they fit into."""
    kept = [text for text, expected in EXAMPLES.values() if expected is not None and ("psk" not in text or PSK)]
    broker = [text for text in kept if "listener " not in text and not text.startswith(("port", "bind_address", "max_topic"))]
    blocks = [text.replace("192.0.2.1", "127.0.0.1") for text in kept if "listener " in text and "per_listener" not in text]
    ports = itertools.count(20000)
    listeners = [re.sub(r"^listener \d+", lambda match: "listener %d" % next(ports), text, flags=re.MULTILINE) for text in blocks]
    status, output, errors = translate("\n".join([*broker, *listeners]) + "\n")
    assert (status, errors) == (0, "") and len(tomllib.loads(output)["listener"]) > 15
    (folder / "broker.toml").write_text(output)
    assert is_right(folder / "broker.toml")


def test_what_is_lost_is_named(translate, folder):
    (folder / "conf.d" / "bridge.conf").write_text("\n\nconnection home\naddress 192.0.2.1\nremote_password topsecret\n")
    status, output, errors = translate("# a comment\ninclude_dir conf.d\nmax_qos 3\nno_such_option x\nplugin_opt_key topsecret\n")
    assert status == 3 and "topsecret" not in output + errors
    assert errors.splitlines() == [
        "conf.d/bridge.conf:3: connection: bridges are not carried over",
        "conf.d/bridge.conf:4: address: bridges are not carried over",
        "conf.d/bridge.conf:5: remote_password: bridges are not carried over",
        "mosquitto.conf:3: max_qos: max_qos must be from 0 to 2, not 3",
        "mosquitto.conf:4: no_such_option: this option is unknown, to mosquitto 2, too",
        "mosquitto.conf:5: plugin_opt_key: " + mosquitto_conf.PLUGINS,
    ]
    for line in errors.splitlines():
        assert f"#   {line}" in output.splitlines()
    (folder / "broker.toml").write_text(output)
    assert is_right(folder / "broker.toml")


@pytest.mark.parametrize(
    "lines",
    [
        f"{CERTIFICATES}capath certs\nrequire_certificate true",
        "require_certificate true",
        "mount_point tenant",
        "enable_proxy_protocol 2",
        "bind_interface eth0",
        "protocol http_api",
        "proxy_protocol_v2_require_tls true",
        f"{CERTIFICATES}use_identity_as_username true",
        "psk_hint x",
        "socket_domain ipv6",
        "require_certificate perhaps",
        "max_connections ten",
        "accept_protocol_versions 6",
    ],
)
def test_a_listener_that_would_be_open_wider_is_left_out(translate, lines):
    status, output, errors = translate(f"listener 1885 127.0.0.1\nlistener 1884\n{lines}\n")
    assert status == 3 and "listener :::1884 is left out because of " in errors.replace("0.0.0.0", "::")
    assert [entry["port"] for entry in tomllib.loads(output)["listener"]] == [1885]
    status, output, errors = translate(f"listener 1884\n{lines}\n")
    assert (status, output) == (3, "") and "no listener is left" in errors


def test_where_plugins_were_asked_nobody_may_do_more(translate, folder):
    """What the plugin said is not known, so what is left says no."""
    for text, expected in (
        ("allow_anonymous true", {"anonymous": "none", "acl": []}),
        ("password_file users.txt", {"anonymous": "none", "acl": []}),
        ("password_file users.txt\nacl_file rules.acl", {"anonymous": "none", "acl_file": f"{folder}/rules.acl"}),
        ("per_listener_settings true\nlistener 1885\nlistener 1886\nallow_anonymous true", {"anonymous": "none"}),
    ):
        status, output, errors = translate(
            f"plugin dynamic_security.so\n{text}\n" + ("" if "listener " in text else "listener 1885\n")
        )
        values = tomllib.loads(output)
        assert status == 3 and "plugin: " in errors and expected.items() <= values.items()
        assert "acl" in values or "acl_file" in values or all(listener["acl"] == [] for listener in values["listener"])
        assert "allow" not in [entry["type"] for entry in values.get("auth", ())]
        (folder / "broker.toml").write_text(output)
        assert is_right(folder / "broker.toml")


@pytest.mark.parametrize("line", ["acl_file", "password_file", "clientid_prefixes a%b", "clientid_prefixes a*"])
def test_no_listener_is_open_wider(translate, line):
    status, output, errors = translate(f"listener 1884\nlistener 1885\n{line}\n")
    assert (status, output) == (3, "") and errors.count(f"is left out because of {line.split()[0]}") == 2


def test_files_that_cannot_be_read(folder, capsys):
    assert from_mosquitto.main(["nowhere.conf"]) == 1
    assert "cannot read nowhere.conf: No such file" in capsys.readouterr().err
    (folder / "mosquitto.conf").write_text(
        "include_dir nowhere\nper_listener_settings true\nlistener 1884\nacl_file nowhere\nlistener 1885\n"
    )
    assert from_mosquitto.main(["mosquitto.conf"]) == 3
    output, errors = capsys.readouterr()
    assert "mosquitto.conf:1: include_dir: cannot read the folder nowhere" in errors
    assert (
        f"mosquitto.conf:4: acl_file: cannot read {folder}/nowhere: No such file or directory; its listener is left out" in errors
    )
    assert [entry["port"] for entry in tomllib.loads(output)["listener"]] == [1885]


# -- the same behaviour -----------------------------------------------------------------------------

USERS = "alice:secret\nbob:hidden\n"
ACL = """\
topic read public/#
user alice
topic home/#
topic deny home/safe
pattern readwrite own/%u/#
"""
TOPICS = ("public/x", "home/x", "home/safe", "own/alice/x", "own/bob/x", "other")
LOGINS = ((None, None), ("alice", "secret"), ("alice", "wrong"), ("bob", "hidden"), ("nobody", "x"))
CONFIGURATIONS = {
    "local, without a listener": "log_type error\n",
    "a listener alone": "listener {0} 127.0.0.1\n",
    "open": "listener {0} 127.0.0.1\nallow_anonymous true\n",
    "open, with rules": "listener {0} 127.0.0.1\nallow_anonymous true\nacl_file rules.acl\n",
    "users": "listener {0} 127.0.0.1\npassword_file users.txt\n",
    "users and guests, with rules": "listener {0} 127.0.0.1\npassword_file users.txt\nallow_anonymous true\nacl_file rules.acl\n",
    "limits": "listener {0} 127.0.0.1\nallow_anonymous true\nmax_qos 1\nmax_topic_alias 3\nmax_packet_size 5000\n"
    "max_keepalive 30\n"
    "retain_available false\nmax_inflight_messages 7\n",
    "one for each": "per_listener_settings true\nlistener {0} 127.0.0.1\npassword_file users.txt\nacl_file rules.acl\n"
    "listener {1} 127.0.0.1\nallow_anonymous true\nmax_qos 0\n",
}  # fmt: skip


class Client:
    """A client of either broker."""

    def __init__(self, port, user, password, version=5):
        self.seen: set[tuple[str, bytes]] = set()
        self.answer: Any = None
        self.properties: dict[str, Any] = {}
        self._answered, self.subscribed = threading.Event(), threading.Event()
        self.client: Any = paho.Client(
            CallbackAPIVersion.VERSION2, client_id="probe-%s" % user, protocol=MQTTProtocolVersion(version)
        )
        if user is not None:
            self.client.username_pw_set(user, password)
        self.client.on_connect = self._connected
        self.client.on_message = lambda client, userdata, message: self.seen.add((message.topic, bytes(message.payload)))
        self.client.on_subscribe = lambda *_: self.subscribed.set()
        self.client.connect("127.0.0.1", port, 60)
        self.client.loop_start()
        assert self._answered.wait(TIMEOUT)

    def _connected(self, client, userdata, flags, code, properties):
        self.answer = not code.is_failure
        self.properties = properties.json() if properties is not None else {}
        self._answered.set()
        if code.is_failure:
            client.disconnect()

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def probe(ports):
    """What clients find at each port: who may connect, what they can send to themselves, limits."""
    found: dict[Any, Any] = {}
    for number, port in enumerate(ports):
        for user, password in LOGINS:
            client = Client(port, user, password)
            key = number, user, password
            found[key] = client.answer
            if client.answer:
                client.client.subscribe("#", 0)
                assert client.subscribed.wait(TIMEOUT)
                qos = client.properties.get("MaximumQoS", 1)
                for topic in TOPICS:
                    for size in (1, 200):
                        last = client.client.publish(topic, bytes(size), min(qos, 1))
                last.wait_for_publish(TIMEOUT)
                client.client.publish("public/end", b"", 0)
                time.sleep(0.1)  # what has been let through before the last acknowledgement has come
                names = (
                    "MaximumQoS",
                    "TopicAliasMaximum",
                    "MaximumPacketSize",
                    "ServerKeepAlive",
                    "RetainAvailable",
                    "ReceiveMaximum",
                )
                limits = {name: client.properties.get(name) for name in names}
                found[key] = (sorted((topic, len(payload)) for topic, payload in client.seen if topic in TOPICS), limits)
            client.close()
    return found


@pytest.fixture
def files(tool, folder):
    (folder / "users.txt").write_text(USERS)
    subprocess.run([tool("mosquitto_passwd"), "-U", "users.txt"], check=True, cwd=folder, timeout=TIMEOUT)
    (folder / "rules.acl").write_text(ACL)
    for name in ("users.txt", "rules.acl"):
        (folder / name).chmod(0o600)
    return folder


def listening(process, port):
    """Wait until somebody listens."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            Client(port, None, None).close()
            return
        except OSError:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_it_does_what_mosquitto_does(tool, files, translate, name):
    ports = [free_port(), free_port()] if "{1}" in CONFIGURATIONS[name] else [free_port()]
    text = CONFIGURATIONS[name].format(*ports)
    command = [tool("mosquitto"), "-c", "mosquitto.conf"]
    if "listener" not in text:
        command += ["-p", str(ports[0])]
    status, output, errors = translate("user root\nsys_interval 0\n" + text)
    assert (status, errors) == (0, "")
    (files / "broker.toml").write_text(output.replace("port = 1883", "port = %d" % ports[0]))
    found = []
    for program in (command, [*UCOMQTT, "--config", "broker.toml"]):
        process = subprocess.Popen(program, cwd=files, env=environment(), stderr=subprocess.DEVNULL)
        try:
            listening(process, ports[0])
            found.append(probe(ports))
        finally:
            process.terminate()
            process.wait(TIMEOUT)
    theirs, ours = found
    for key, expected in theirs.items():
        if isinstance(expected, tuple):
            assert ours[key][0] == expected[0], key
            for limit, value in expected[1].items():  # what mosquitto does not say has our default
                assert value is None or limit not in LIMITED.get(name, ()) or ours[key][1][limit] == value, (key, limit)
        else:
            assert ours[key] == expected, key
    assert any(theirs.values()) or name == "a listener alone"


LIMITED = {
    "limits": ("MaximumQoS", "TopicAliasMaximum", "MaximumPacketSize", "ServerKeepAlive", "RetainAvailable", "ReceiveMaximum")
}
