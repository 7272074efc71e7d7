"""The options of mosquitto 2.0 and 2.1, a row for each: its translation, and a note about it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from port.cpython.config.mosquitto import tls
from port.cpython.config.mosquitto.line import LOST_LINE, NEEDLESS, Lost, boolean, number
from port.cpython.config.mosquitto.listeners import Listeners
from port.cpython.config.mosquitto.log import Log
from port.cpython.config.mosquitto.persistence import STORE, Persistence
from port.cpython.config.mosquitto.security import Rights

if TYPE_CHECKING:
    from port.cpython.config.mosquitto.translation import Translation

    Make = Callable[[Translation, str], None]
    Set = Callable[[Translation, str, object], None]

BRIDGE = (
    "connection address addresses bridge_alpn bridge_attempt_unsubscribe bridge_bind_address bridge_cafile bridge_capath "
    "bridge_certfile bridge_ciphers bridge_ciphers_tls1.3 bridge_identity bridge_insecure bridge_keyfile "
    "bridge_max_packet_size bridge_max_topic_alias bridge_outgoing_retain bridge_protocol_version bridge_psk "
    "bridge_receive_maximum bridge_reload_type bridge_require_ocsp bridge_session_expiry_interval bridge_tcp_keepalive "
    "bridge_tcp_user_timeout bridge_tls_use_os_certs bridge_tls_version cleansession clientid idle_timeout "
    "keepalive_interval local_cleansession local_clientid local_password local_username notification_topic notifications "
    "notifications_local_only password remote_clientid remote_password remote_username restart_timeout round_robin "
    "start_type threshold topic try_private username "
).split()


class Row(NamedTuple):
    """An option, the function that carries it over, and a note: the reason why none does, or a difference."""

    option: str
    make: Make
    note: str = ""


def NOTHING(translation: Translation, value: str) -> None:
    """Nothing is lost without this option."""


def LOST(translation: Translation, value: str) -> None:
    """This broker has no such option."""


# -- parts of a translation that a line may be about --


def _listeners(method: Callable[[Listeners, str], None]) -> Make:
    return lambda translation, value: method(translation.listeners, value)


def _rights(method: Callable[[Rights, str], None]) -> Make:
    return lambda translation, value: method(translation.rights, value)


def _persistence(method: Callable[[Persistence, str], None]) -> Make:
    return lambda translation, value: method(translation.persistence, value)


def _log(method: Callable[[Log, str], None]) -> Make:
    return lambda translation, value: method(translation.log, value)


# -- owners of our options --


def _broker(translation: Translation, name: str, value: object) -> None:
    translation.draft.option(name, value)


def _own(translation: Translation, name: str, value: object) -> None:
    translation.listeners.own_option(name, value)


def _secured(translation: Translation, name: str, value: object) -> None:
    translation.rights.option(name, value)


# -- values --


def _count(name: str, put: Set = _broker, nothing: int | None = None) -> Make:
    """A number; for `nothing` our default holds, which is as good."""

    def make(translation: Translation, value: str) -> None:
        found = number(value, -1)
        if found != nothing:
            put(translation, name, found)

    return make


def _keep_alive(translation: Translation, value: str) -> None:
    found = number(value, 0, 65535)
    translation.draft.option("max_keep_alive", 0 if found == 65535 else found)


def _inflight(translation: Translation, value: str) -> None:
    """max_inflight_messages, which in mosquitto means both directions"""
    for name in ("max_inflight", "receive_maximum"):
        translation.draft.option(name, number(value, 0))


def _switch(name: str, put: Set = _broker) -> Make:
    return lambda translation, value: put(translation, name, boolean(value))


def _text(name: str, put: Set = _broker) -> Make:
    return lambda translation, value: put(translation, name, value)


def _only(expected: bool, why: str) -> Make:
    """A switch that is fixed here."""
    return lambda translation, value: translation.draft.note(why, NEEDLESS if boolean(value) is expected else LOST_LINE)


def _closing(why: str) -> Make:
    """An option without which a listener would be open wider than mosquitto's."""

    def make(translation: Translation, value: str) -> None:
        translation.listeners.listener()
        raise Lost(why, closed=True)

    return make


def _closing_unless(expected: bool, why: str) -> Make:
    def make(translation: Translation, value: str) -> None:
        if boolean(value) is not expected:
            _closing(why)(translation, value)
        translation.draft.note(why, NEEDLESS)

    return make


# -- TLS --


def _tls(key: str) -> Make:
    def make(translation: Translation, value: str) -> None:
        translation.listeners.listener().tls[key] = value

    return make


def _file(key: str) -> Make:
    """certfile, keyfile, crlfile"""

    def make(translation: Translation, value: str) -> None:
        translation.listeners.listener().tls[key] = os.path.abspath(value)

    return make


def _field(name: str) -> Make:
    """use_identity_as_username, use_subject_as_username"""

    def make(translation: Translation, value: str) -> None:
        if boolean(value):
            translation.listeners.listener().certificate = name

    return make


def _authority(translation: Translation, value: str) -> None:
    """cafile: authorities for clients' certificates, or the rest of the server's chain"""
    translation.listeners.listener().authority = os.path.abspath(value)


def _require(translation: Translation, value: str) -> None:
    translation.listeners.listener().require = boolean(value)


def _version(translation: Translation, value: str) -> None:
    translation.listeners.listener().tls["minimum_version"] = tls.version(value)


def _key_form(translation: Translation, value: str) -> None:
    if value != "pem":
        _closing("keys are PEM files")(translation, value)
    translation.draft.note("keys are PEM files", NEEDLESS)


PLUGINS = (
    "plugins of mosquitto cannot be used, and the permissions of this one are gone; see [[auth]] for Redis, HTTP, MySQL, "
    "PostgreSQL and JWT, and hooks in a program"
)
BRIDGES = "bridges are not carried over"
PLUGIN = ("plugin_opt_", "auth_opt_")

ROWS = (
    # -- the broker --
    Row("acl_file", _rights(Rights.acl_file)),
    Row("allow_anonymous", _rights(Rights.allow_anonymous)),
    Row("allow_duplicate_messages", _only(False, "a client gets one copy, however many of its filters match")),
    Row("allow_zero_length_clientid", _switch("allow_zero_length_clientid", _secured)),
    Row("auth_plugin_deny_special_chars", _only(True, "no rule that such a name would widen matches it")),
    Row("auto_id_prefix", _text("auto_id_prefix", _secured)),
    Row("autosave_interval", NOTHING, "the store is written continuously, see durability of [store]"),
    Row("autosave_on_changes", _persistence(Persistence.autosave_on_changes), "all changes are written soon, see durability of [store]"),
    Row("check_retain_source", _switch("check_retain_source"), "rights from a back end are not checked"),
    Row("clientid_prefixes", _rights(Rights.client_id_prefix)),
    Row("connection_messages", _log(Log.connection_messages)),
    Row("enable_control_api", _only(False, "there is no $CONTROL")),
    Row("global_max_clients", _count("max_sessions", nothing=-1), "a client above it is told 0x97"),
    Row("global_max_connections", _count("max_connections", nothing=-1), "a client above it is told 0x97"),
    Row("global_plugin", LOST, PLUGINS),
    Row("plugin", LOST, PLUGINS),
    Row("plugin_load", LOST, PLUGINS),
    Row("plugin_use", LOST, PLUGINS),
    Row("auth_plugin", LOST, PLUGINS),
    Row("include_dir", NOTHING, "its files are read in its place"),
    Row("log_dest", _log(Log.log_dest)),
    Row("log_facility", NOTHING, "the log goes to standard error"),
    Row("log_timestamp", _only(True, "each line has a time")),
    Row("log_timestamp_format", NOTHING, "the time is as in 2026-01-31 12:00:00,000"),
    Row("log_type", _log(Log.log_type), "one level and all above it"),
    Row("max_inflight_bytes", _count("max_inflight_bytes"), "payloads of more than 1,024 bytes count"),
    Row("max_inflight_messages", _inflight, "it holds for both directions"),
    Row("max_keepalive", _keep_alive, "it holds for MQTT 3, too"),
    Row("max_packet_size", _count("max_packet_size")),
    Row("max_queued_bytes", _count("max_queued_bytes"), "0: up to max_memory"),
    Row("max_queued_messages", _count("max_queued_messages"), "0: up to max_memory"),
    Row("memory_limit", _count("max_memory", nothing=0), "it bounds data kept for clients, not the heap"),
    Row("message_size_limit", _count("message_size_limit"), "MQTT 5 clients are told 0x97"),
    Row("password_file", _rights(Rights.password_file)),
    Row("per_listener_settings", _rights(Rights.set_per_listener)),
    Row("persistence", _persistence(Persistence.persistence), "a file of our own; mosquitto.db cannot be read"),
    Row("retained_persistence", _persistence(Persistence.persistence), "a file of our own; mosquitto.db cannot be read"),
    Row("persistence_file", NOTHING, "the store is %s in persistence_location" % STORE),
    Row("persistence_location", _persistence(Persistence.persistence_location)),
    Row("persistent_client_expiration", _persistence(Persistence.expiry)),
    Row("pid_file", NOTHING, "the service manager knows the process"),
    Row("user", NOTHING, "the service manager sets the user"),
    Row("queue_qos0_messages", _switch("queue_qos0_messages"), "for slow online clients, too"),
    Row("retain_available", _switch("retain_available")),
    Row("retain_expiry_interval", NOTHING, "expired messages go within a minute; max_retained_expiry makes all others expire"),
    Row("retry_interval", NOTHING, "unacknowledged messages are sent again when the client reconnects, as in mosquitto 2"),
    Row("set_tcp_nodelay", NOTHING, "always so"),
    Row("sys_interval", _count("sys_interval")),
    Row("upgrade_outgoing_qos", _only(False, "the standard forbids it [MQTT-3.8.4-8]")),
    # -- listeners --
    Row("listener", _listeners(Listeners.add_listener)),
    Row("port", _listeners(Listeners.port)),
    Row("bind_address", _listeners(Listeners.bind_address)),
    Row("bind_interface", _closing("give an address of the interface as host of the listener")),
    Row("socket_domain", _listeners(Listeners.domain)),
    Row("protocol", _listeners(Listeners.protocol)),
    Row("websockets_origin", _listeners(Listeners.origin)),
    Row("websockets_headers_size", NOTHING, "not needed"),
    Row("websockets_log_level", NOTHING, "not needed"),
    Row("packet_buffer_size", NOTHING, "not needed"),
    Row("http_dir", LOST, "no files are served"),
    Row("accept_protocol_versions", _listeners(Listeners.protocol_versions)),
    Row("enable_proxy_protocol", _listeners(Listeners.proxy_protocol)),
    Row("proxy_protocol_v2_require_tls", _closing_unless(False, "the proxy's information about TLS is not checked")),
    Row("listener_allow_anonymous", _listeners(Listeners.listener_allow_anonymous)),
    Row("listener_auto_id_prefix", _text("auto_id_prefix", _own)),
    Row("max_connections", _count("max_connections", _own, nothing=-1)),
    Row("max_qos", _count("max_qos", _own)),
    Row("maximum_qos", _count("max_qos", _own)),
    Row("max_topic_alias", _count("topic_alias_maximum", _own)),
    Row("max_topic_alias_broker", _count("outbound_topic_aliases", _own)),
    Row("mount_point", _listeners(Listeners.mount_point)),
    Row("use_username_as_clientid", _switch("use_username_as_clientid", _own)),
    Row("use_identity_as_username", _field("cn")),
    Row("use_subject_as_username", _field("subject")),
    # -- TLS --
    Row("certfile", _file("certificate")),
    Row("keyfile", _file("key"), "a password of the key belongs in a file, key_password_file"),
    Row("cafile", _authority),
    Row("capath", _closing("one file with all authorities is needed, client_ca or chain of tls")),
    Row("require_certificate", _require),
    Row("crlfile", _file("crl")),
    Row("ciphers", _tls("ciphers"), "of TLS 1.2"),
    Row("ciphers_tls1.3", LOST, "Python's ssl cannot choose them"),
    Row("tls_version", _version),
    Row("dhparamfile", NOTHING, "only ECDHE is used"),
    Row("disable_client_cert_date_checks", _only(False, "an expired certificate is refused")),
    Row("tls_engine", _closing("Python's ssl has no engines")),
    Row("tls_engine_kpass_sha1", _closing("Python's ssl has no engines")),
    Row("tls_keyform", _key_form),
    Row("psk_file", _rights(Rights.psk_file), "needs Python 3.13; the identity is no user name"),
    Row("psk_hint", _tls("psk_hint")),
    # -- bridges --
    *(Row(name, LOST, BRIDGES) for name in BRIDGE),
)  # fmt: skip
BY_NAME = {row.option: row for row in ROWS}
