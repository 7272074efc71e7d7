"""The translation of mosquitto.conf: every option has its place, what is printed is taken, and it does what mosquitto does."""

import itertools
import os
import re
import shutil
import ssl
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as paho
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from certificates import certificates  # noqa: F401
from drivers import TIMEOUT
from port.core.config.config import Config
from port.cpython.cli import from_mosquitto
from port.cpython.config import config_file
from port.cpython.config.mosquitto import table
from server_process import environment, free_port
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
    **{name: (f"{name} x", None) for name in table.BRIDGE},
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
    names = [row.option for row in table.ROWS]
    assert len(names) == len(set(names)) and set(names) == set(EXAMPLES)
    assert set(names) - set(table.BRIDGE) == OF_MOSQUITTO
    for row in table.ROWS:
        assert row.note or row.make not in (table.LOST, table.NOTHING), "why is there no %s?" % row.option


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
        "mosquitto.conf:4: no_such_option: this option is unknown to mosquitto 2, too",
        "mosquitto.conf:5: plugin_opt_key: " + table.PLUGINS,
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
    (folder / "mosquitto.conf").write_text("per_listener_settings true\nlistener 1884\nacl_file nowhere\nlistener 1885\n")
    assert from_mosquitto.main(["mosquitto.conf"]) == 3
    output, errors = capsys.readouterr()
    assert (
        f"mosquitto.conf:3: acl_file: cannot read {folder}/nowhere: No such file or directory; its listener is left out" in errors
    )
    assert [entry["port"] for entry in tomllib.loads(output)["listener"]] == [1885]


# -- nothing that guards is lost without a word --------------------------------------------------------


def refused(done, listeners, why):
    """Nobody is let in, and it is said why."""
    status, output, errors = done
    assert (status, output) == (3, "") and errors.count(f"is left out because of {why}\n") == listeners, errors
    assert errors.endswith("no listener is left\n")


@pytest.mark.parametrize("more", ["", "per_listener_settings true\n"])
@pytest.mark.parametrize("name", ["nowhere", "mosquitto.conf", "closed", "", "conf.d\x01", "conf.d\0"])
def test_a_folder_that_cannot_be_read_may_hold_what_guards(translate, folder, monkeypatch, more, name):
    (folder / "closed").mkdir()
    listed = os.listdir

    def listdir(path):  # where the tests run as root no folder is closed
        if path == "closed":
            raise PermissionError(13, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(os, "listdir", listdir)
    done = translate(f"{more}listener 1884\nallow_anonymous true\ninclude_dir {name}\n")
    refused(done, 1, "include_dir")
    assert "mosquitto.conf:%d: include_dir: " % (4 if more else 3) in done[2]
    (folder / "conf.d" / "more.conf").write_text("include_dir conf.d\n")
    refused(translate("listener 1884\nallow_anonymous true\ninclude_dir conf.d\n"), 1, "include_dir")


UNKNOWN = [
    "acl_file\t/rules.acl", "acl_file=/rules.acl", "acl_file_x", "acl_fil /x", "alc_file /x", "ACL_FILE /x", "aclfile /x", "acl-file /x",
    "password_file=users.txt", "password_file\tusers.txt", "passwordfile x", "passwd_file x", "psk_file:psk.txt", "clientid_prefix x",
    "require_certificate\ttrue", "require_certificates true", "requirecertificate true", "cafile=ca.pem", "use_identity_as_user_name true",
    "allow_anonymous\tfalse", "allow_anonymous=false", "anonymous_allow false", "bind_address=127.0.0.1", "bind_interface\teth0",
    "include_dir\tconf.d", "include conf.d", "per_listener_settings=true", "plugin\tx.so", "auth_plugins x.so", "mountpoint x/",
    "mount_point\tx/", "acl _file /x", "acl", "=", "accept_protocol_version 5", "crl_file crl.pem", "listener:1885", "acl_file\xa0/rules.acl", "acl_file\x01 /x",
]  # fmt: skip


@pytest.mark.parametrize("line", UNKNOWN)
def test_what_is_unknown_but_may_be_a_guard_shuts_all(translate, line):
    done = translate(f"listener 1884\nallow_anonymous true\nlistener 1885\n{line}\n")
    assert done[:2] == (3, "") and done[2].count(" is left out because of ") == 2, done[2]
    assert "mosquitto.conf:4: " in done[2] and "this option is unknown to mosquitto 2, too" in done[2]
    assert all(char.isprintable() for char in done[2].replace("\n", ""))


@pytest.mark.parametrize(
    "line", ["allow_anonymous maybe", "allow_anonymous", "allow_anonymous false\t# x", "per_listener_settings maybe", "per_listener_settings",
             "acl_file rules\x01.acl", "password_file users\x7f.txt", "acl_file a\rb", "acl_file a\0b", "max_qos 1\0"]
)  # fmt: skip
def test_what_mosquitto_does_not_take_shuts_all(translate, line):
    refused(translate(f"listener 1884\nallow_anonymous true\nlistener 1885\n{line}\n"), 2, line.split(" ")[0])


def test_rights_before_per_listener_settings(translate):
    """mosquitto does not take that; which listener they are about is not known."""
    refused(translate("acl_file rules.acl\nper_listener_settings true\nlistener 1884\n"), 1, "per_listener_settings")


def test_per_listener_settings_cannot_be_taken_back(translate):
    text = "per_listener_settings true\nper_listener_settings false\nlistener 1884\npassword_file users.txt\nlistener 1885\n"
    values = tomllib.loads(translate(text + "allow_anonymous true\n")[1])
    assert [entry["anonymous"] for entry in values["listener"]] == ["none", "all"]


@pytest.mark.parametrize(
    "line",
    ["require_certificate perhaps", "crlfile", "bind_address", "port", "port x", "mount_point", "capath", "bind_interface",
     "socket_domain", "enable_proxy_protocol", "tls_version", "tls_version tlsv1.4", "websockets_origin", "protocol", "listener x",
     "listener", "listener 1884x 127.0.0.1", "mount_point a\x01b/", "bind_address 127.0.0.1\x01", "port 1_883", "port \u0661",
     "psk_hint x\x02", "cafile"],
)  # fmt: skip
def test_a_listener_that_is_not_understood_is_not_there(translate, line):
    """Nor is there one for this machine in its place, for everybody on it."""
    for before in ("", "allow_anonymous true\n"):
        status, output, errors = translate(f"{before}{line}\n")
        assert (status, output) == (3, "") and "no listener is left" in errors, errors


def test_what_follows_a_value(translate, folder):
    """Words after numbers, true and false mean nothing to mosquitto."""
    text = "port 1884 # x\nallow_anonymous false # nobody\nmax_qos 1 2\nlog_type error all\nlistener 1885 127.0.0.1 # here\nlistener 1886 # x\n"
    status, output, errors = translate(text)
    values = relative(tomllib.loads(output), folder)
    assert (status, errors) == (0, "") and values["anonymous"] == "none" and values["log_level"] == "error"
    assert [(entry["port"], entry["host"]) for entry in values["listener"]] == [(1884, "::"), (1885, "127.0.0.1"), (1886, "::")]
    assert values["listener"][0]["max_qos"] == 1


def test_each_file_begins_with_the_default_listener(translate, folder):
    """What stands in a file of include_dir is not about the listener above, nor what stands below about the listener in there."""
    (folder / "conf.d" / "more.conf").write_text("max_qos 0\nlistener 1886\nmax_qos 2\n")
    text = f"listener 8884\n{CERTIFICATES}cafile ca.pem\ninclude_dir conf.d\nrequire_certificate true\nmax_qos 1\n"
    status, output, errors = translate(text)
    found = {entry["port"]: entry for entry in tomllib.loads(output)["listener"]}
    assert (status, errors) == (0, "")
    assert found[8884]["tls"]["client_ca"].endswith("ca.pem") and found[8884]["max_qos"] == 1
    assert found[1883]["max_qos"] == 0 and found[1886]["max_qos"] == 2


def test_users_of_a_listener_with_psk(translate, monkeypatch):
    """The identity of PSK is no user name: the password is asked for beside it."""
    monkeypatch.setattr(ssl.SSLContext, "set_psk_server_callback", None, raising=False)
    text = "listener 8884\npsk_file psk.txt\npsk_hint x\nallow_anonymous true\npassword_file users.txt\n"
    values = tomllib.loads(translate(text)[1])
    assert [entry["type"] for entry in values["auth"]] == ["password_file"] and "auth" not in values["listener"][0]


PIECES = st.one_of(
    st.sampled_from([name for name in EXAMPLES if name != "include_dir"] + ["include_dir", "#", "plugin_opt_x", "nothing", ""]),
    st.sampled_from([line.partition(" ")[2] for text, _ in EXAMPLES.values() for line in text.split("\n")]),
    st.sampled_from([" ", " ", " ", "\t", "\n", "\n", "\n", "\r", "\r\n", "\x01", "\x7f", "\x85", "\xa0", "\u2028", "\0", '"', "\\", "=", "#"]),
    st.sampled_from(["true", "false", "1", "0", "-1", "65535", "99999999999999999999", "listener 1884", "a/b", "%u", "conf.d", "x"]),
    st.text(max_size=4),
    st.sampled_from([f"\n{text}\n" for text, expected in EXAMPLES.values() if expected is not None]),
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(PIECES, max_size=30), st.lists(PIECES, max_size=8), st.sampled_from(["utf-8", "utf-16", "latin-1"]))
def test_whatever_it_reads_it_prints_toml_that_is_taken(folder, capsys, pieces, included, encoding):
    def written(parts):
        return "".join(parts).encode(encoding, "replace")

    (folder / "mosquitto.conf").write_bytes(written([piece for part in pieces for piece in (part, " ")]))
    (folder / "conf.d" / "more.conf").write_bytes(written(included))
    status = from_mosquitto.main(["mosquitto.conf"])
    output, errors = capsys.readouterr()
    assert all(char.isprintable() for char in (output + errors).replace("\n", ""))
    assert status in (0, 3)
    if output:
        (folder / "broker.toml").write_text(output)
        tomllib.loads(output)
        checked = config_file.gather(config_file.parser().parse_args(["--config", "broker.toml"]))
        Config(checked.values, False, config_file.PROGRAM)
    else:
        assert status == 3 and errors.endswith("no listener is left\n")
    lines = errors.splitlines()
    assert all(f"#   {line}" in output.splitlines() for line in lines) or not output
    assert bool(lines) == (status == 3)


# A line that guards, what it is about, and what of it is in the result.
GUARDS: "list[tuple[str, str, Callable[[Any], bool]]]" = [
    ("acl_file rules.acl", "", lambda values: "acl_file" in values),
    ("password_file users.txt", "", lambda values: [entry["type"] for entry in values["auth"]] == ["password_file"]),
    ("clientid_prefixes secure-", "", lambda values: values["client_id"].endswith("*") and len(values["client_id"]) > 1),
    ("require_certificate true", CERTIFICATES + "cafile ca.pem", lambda values: "client_ca" in values["listener"][0]["tls"]),
    ("use_identity_as_username 1", CERTIFICATES + "cafile ca.pem", lambda values: values["auth"][0]["type"] == "certificate"),
    ("mount_point tenant/", "", lambda values: len(values["listener"][0]["mount_point"]) > 1),
    ("accept_protocol_versions 5", "", lambda values: values["listener"][0]["accept_protocol_versions"] != []),
    ("listener_allow_anonymous false", "", lambda values: values["anonymous"] == "none"),
    ("plugin dynamic_security.so", "", lambda values: values["anonymous"] == "none" and values["acl"] == []),
]


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data(), st.sampled_from(GUARDS))
def test_a_guard_with_a_slip_of_the_pen_is_a_guard_or_shuts(folder, capsys, data, case):
    """One character more, less, or another one."""
    line, before, guards = case
    at = data.draw(st.integers(0, len(line) - 1))
    new = data.draw(st.one_of(st.sampled_from("\t =:_-\n\x01\x7fxX1\xa0"), st.characters(exclude_categories=["Cs"]), st.just("")))
    changed = line[:at] + new + line[at + data.draw(st.integers(0, 1)) :]
    assume(not changed.startswith("#") and changed.rpartition(" ")[2] != "0")  # a comment, or the opposite
    (folder / "mosquitto.conf").write_text(f"listener 1884\nallow_anonymous true\n{before}\n{changed}\n")
    status = from_mosquitto.main(["mosquitto.conf"])
    output, errors = capsys.readouterr()
    assert output or status == 3 and errors.endswith("no listener is left\n")
    assert not output or guards(tomllib.loads(output)), (changed, errors)


def test_control_characters_are_told_as_text(translate, folder):
    """In comments and on a terminal; what others wrote must not move the cursor."""
    status, output, errors = translate("user x\nno\x1b[2Jsuch\x7f x\rlistener\nlog_facility 5\r\n")
    assert status == 3 and "mosquitto.conf:2: no\\x1b[2Jsuch\\x7f: this option is unknown" in errors
    assert all(char.isprintable() for char in (output + errors).replace("\n", "")) and tomllib.loads(output)


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
