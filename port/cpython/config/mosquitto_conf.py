"""mosquitto.conf(5) in our words: what each option of mosquitto 2.0 and 2.1 becomes, and the translation of whole files.

`ROWS` is the table, a row for each option: `make` carries it over, or `NOTHING` says that nothing is lost without it, `LOST`
that something is; `note` says why. A line whose value cannot be carried over is lost, too, with the reason. Nothing is guessed:
what a line does not say keeps our default, but for who may connect and from where, which is always said.

Files are named as `mosquitto -c FILE`, started in the same folder, would find them. Those of its `include_dir` are read
where they are included. A listener that would be open wider than mosquitto's without a line that is lost is left out, all are
where the line may be about all of them, and where plugins said who may do what, nobody may do anything but what users and rules
from files say. An option that is unknown, but has a name like one of those, counts as one of them.

Lines are taken apart as mosquitto does it: the option ends at the first space, and no other blank; true, false and numbers end
at the next one, and what follows them says nothing; a name or file is all that follows, and has no control characters in it.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from port.core.wire.suggest import unknown
from port.core.limits.options import Options
from port.core.config.listener_config import ListenerConfig
from port.cpython.config import mosquitto_acl
from port.cpython.config.escape import printable

LOST_LINE, NEEDLESS, DIFFERENT = "lost", "needless", "different"
LOCAL, EVERYWHERE = "127.0.0.1", "::"
STORE = "ucomqtt.db"
_PORT = 1883
_DAYS = {"h": 3600, "d": 86400, "w": 7 * 86400, "m": 30 * 86400, "y": 365 * 86400}
_LEVELS = {
    "none": "error", "error": "error", "warning": "warning", "notice": "info", "information": "info", "debug": "debug",
    "all": "debug", "subscribe": "debug", "unsubscribe": "debug", "websockets": "debug", "internal": "debug",
}  # fmt: skip
# Options that say who may connect or do what, of a listener, and of all unless there is per_listener_settings.
_GUARDS = (
    "listener", "require_certificate", "use_identity_as_username", "use_subject_as_username", "use_username_as_clientid",
    "certfile", "keyfile", "crlfile", "psk_hint", "listener_allow_anonymous", "accept_protocol_versions", "max_connections",
    "bind_interface", "cafile", "capath", "enable_proxy_protocol", "mount_point", "protocol", "proxy_protocol_v2_require_tls",
    "socket_domain", "tls_engine", "tls_engine_kpass_sha1", "tls_keyform", "websockets_origin",
)  # fmt: skip
_GUARDS_OF_ALL = ("acl_file", "allow_anonymous", "password_file", "psk_file", "clientid_prefixes")
_OF_DEFAULT = ("port", "bind_address")  # what is left of it would listen elsewhere
_OF_EVERYTHING = ("include_dir", "per_listener_settings")  # without them it is not known what other lines are about
_LIKE_GUARDS = (
    *_GUARDS, *_GUARDS_OF_ALL, *_OF_DEFAULT, *_OF_EVERYTHING, "plugin", "auth_plugin", "global_plugin", "plugin_load", "plugin_use",
)  # fmt: skip
_LONGEST = 40  # letters of an unknown option that are compared
_BLANKS = " \t\n\v\f\r"  # what C's isspace() takes away at both ends
_CONTROL = re.compile("[\0-\x1f\x7f-\x9f]")
_ORDER = ("error", "warning", "info", "debug")
_BRIDGE = (
    "connection address addresses bridge_alpn bridge_attempt_unsubscribe bridge_bind_address bridge_cafile bridge_capath "
    "bridge_certfile bridge_ciphers bridge_ciphers_tls1.3 bridge_identity bridge_insecure bridge_keyfile "
    "bridge_max_packet_size bridge_max_topic_alias bridge_outgoing_retain bridge_protocol_version bridge_psk "
    "bridge_receive_maximum bridge_reload_type bridge_require_ocsp bridge_session_expiry_interval bridge_tcp_keepalive "
    "bridge_tcp_user_timeout bridge_tls_use_os_certs bridge_tls_version cleansession clientid idle_timeout "
    "keepalive_interval local_cleansession local_clientid local_password local_username notification_topic notifications "
    "notifications_local_only password remote_clientid remote_password remote_username restart_timeout round_robin "
    "start_type threshold topic try_private username "
).split()


class Lost(Exception):
    """A line cannot be carried over; the text says why. `closed`: nor can its listener be opened without it."""

    def __init__(self, text: str, closed: bool = False) -> None:
        super().__init__(text)
        self.closed = closed


class Note(NamedTuple):
    """A line of a file and what is to be said about it. `kind`: LOST_LINE, NEEDLESS, or DIFFERENT though it is carried over."""

    file: str
    line: int
    option: str
    text: str
    kind: str

    @property
    def lost(self) -> bool:
        """Whether it is not carried over."""
        return self.kind == LOST_LINE

    def __str__(self) -> str:
        text = "%s:%d: %s: %s" % self[:4] if self.line else "%s: %s" % (self.file, self.text)
        return printable(text)


@dataclass
class Security:
    """What says who may connect, for the broker or, with per_listener_settings, for a listener."""

    anonymous: bool | None = None
    password_file: str = ""
    acl_file: tuple[str, tuple[str, int, str]] | None = None  # with the line that names it
    psk_file: str = ""


@dataclass
class Place:
    """A listener of mosquitto's: what becomes of it, and what is known only at its end."""

    values: dict[str, Any] = field(default_factory=dict)
    tls: dict[str, Any] = field(default_factory=dict)
    security: Security = field(default_factory=Security)
    domain: str = ""
    anonymous: bool | None = None  # listener_allow_anonymous
    require: bool = False
    certificate: str = ""  # the field that becomes the user name
    authority: str = ""  # its cafile
    closed: str = ""  # why it is left out


class Translation:
    """A configuration of mosquitto's in our words.

    values  ours, as a TOML file has it
    notes   what is to be said about single lines, in their order
    """

    def __init__(self, path: str) -> None:
        """Raises OSError naming a file that cannot be read."""
        self.values: dict[str, Any] = {}
        self.notes: list[Note] = []
        self._places: list[Place] = []
        self._default: Place | None = None
        self._own: Place | None = None  # that lines are about at the moment
        self._per_listener = False
        self._secured = False  # a line about users and rights was there, whatever it is about
        self._local = True  # no listener is asked for: only this machine is listened to
        self._security = Security()
        self._level = -1
        self._quiet: tuple[str, int] | None = None
        self._store: dict[str, Any] = {}
        self._persistent = False
        self._location = ""
        self._plugins = False
        self._shut = ""  # an option without which all listeners would be open wider
        self._at: tuple[str, int, str] = (path, 0, "")
        self._read(path, main=True)
        self._finish()

    # -- lines ----------------------------------------------------------------------------------

    def _read(self, path: str, main: bool) -> None:
        with open(path, "rb") as file:
            lines = file.read().split(b"\n")
        own, self._own = self._own, None  # each file begins with the default listener
        for number, line in enumerate(lines, 1):
            text = line.decode(errors="backslashreplace").strip(_BLANKS)
            if line.startswith(b"#") or not text:
                continue
            option, _, value = text.partition(" ")
            self._at = (path, number, option)
            try:
                if b"\0" in line:
                    self._shut = option
                    raise Lost("mosquitto reads no further than a NUL character")
                if text.encode() != line.strip(_BLANKS.encode()):
                    raise Lost("not valid UTF-8")
                if option == "include_dir":
                    self._include(self._text(value), main)
                else:
                    self._line(option, value.strip(_BLANKS))
            except Lost as e:
                self._lose(e)
        self._own = own

    @staticmethod
    def _text(value: str) -> str:
        """A value without blanks around it. Raises Lost where there are characters in it that mosquitto does not take."""
        value = value.strip(_BLANKS)
        match = _CONTROL.search(value)
        if match is not None:
            raise Lost("there is a control character in its value: %r" % match[0])
        return value

    def _line(self, option: str, value: str) -> None:
        row = _BY_NAME.get(option)
        self._local = self._local and option != "listener" and option not in _OF_DEFAULT
        if row is None:
            if not option.startswith(_PLUGIN):
                raise Lost("this option is unknown, to mosquitto 2, too")
            self._plugins = True
            raise Lost(PLUGINS)
        self._plugins = self._plugins or row.note == PLUGINS
        if row.make is LOST or row.make is NOTHING:
            self.note(row.note, LOST_LINE if row.make is LOST else NEEDLESS)
            return
        if not value:
            raise Lost("its value is missing", closed=option == "tls_version")
        if option != "accept_protocol_versions":  # between which tabs may stand, and which are numbers
            self._text(value)
        row.make(self, value)
        if row.note:
            self.note(row.note, DIFFERENT)

    def _include(self, name: str, main: bool) -> None:
        if not main:
            raise Lost("stands in the main file only")
        try:
            names = sorted((file for file in os.listdir(name) if file.endswith(".conf")), key=lambda file: (file.upper(), file))
        except OSError as e:
            text = "cannot read the folder %s: %s, so what guards the listeners is not known"
            raise Lost(text % (name, e.strerror)) from None
        at = self._at
        for file in names:
            self._read(os.path.join(name, file), main=False)
        self._at = at

    def note(self, text: str, kind: str) -> None:
        """Say something about the line that is read at the moment."""
        self.notes.append(Note(*self._at, text, kind))

    def _lose(self, error: Lost) -> None:
        self.note(str(error), LOST_LINE)
        option = self._at[2]
        meant = option not in _BY_NAME and not option.startswith(_PLUGIN) and _is_like_a_guard(option)
        if meant or option in _OF_EVERYTHING or option in _GUARDS_OF_ALL and not self._per_listener:
            self._shut = option
        elif option in _OF_DEFAULT:
            self._default_place().closed = option
        elif error.closed or option in _GUARDS or option in _GUARDS_OF_ALL:
            self.listener().closed = option

    # -- where what a line says belongs -----------------------------------------------------------

    def option(self, name: str, value: Any) -> None:
        """Set an option of the broker."""
        self.values[name] = _checked(name, value)

    def listener(self) -> Place:
        """The listener that lines are about; before the first one it is the default one, which is there because of them."""
        return self._own if self._own is not None else self._default_place()

    def own_option(self, name: str, value: Any) -> None:
        """Set an option of the listener."""
        self.listener().values[name] = _checked(name, value)

    def security(self) -> Security:
        """Where users and rights are said."""
        self._secured = True
        return self.listener().security if self._per_listener else self._security

    def secured_option(self, name: str, value: Any) -> None:
        """Set an option that is the listener's with per_listener_settings."""
        self._secured = True
        (self.own_option if self._per_listener else self.option)(name, value)

    # -- options that are more than a value ---------------------------------------------------------

    def per_listener(self, value: str) -> None:
        """per_listener_settings, which cannot be taken back"""
        wanted = _boolean(value)
        if wanted and not self._per_listener and self._secured:
            raise Lost("must stand before all that it is about")
        self._per_listener = self._per_listener or wanted

    def add_listener(self, value: str) -> None:
        """listener PORT [ADDRESS], or 0 FILE"""
        port, host = [*(part for part in value.split(" ") if part), ""][:2]
        host = "" if host.startswith("#") else host
        self._own = Place()
        if port == "0" and host:
            self._own.values = {"type": "unix", "file": os.path.abspath(host)}
        else:
            self._own.values = {"host": host or EVERYWHERE, "port": _number(port, 1, 65535)}
        self._places.append(self._own)

    def port(self, value: str) -> None:
        """port, of the default listener"""
        place = self._default_place()
        place.values["port"] = _number(value, 1, 65535)

    def bind_address(self, value: str) -> None:
        """bind_address, of the default listener"""
        self._default_place().values["host"] = value

    def _default_place(self) -> Place:
        if self._default is None:
            self._default = Place({"host": EVERYWHERE, "port": _PORT})
            self._places.insert(0, self._default)
        self._own = self._default
        return self._default

    def allow_anonymous(self, value: str) -> None:
        """allow_anonymous"""
        self.security().anonymous = _boolean(value)

    def listener_allow_anonymous(self, value: str) -> None:
        """listener_allow_anonymous"""
        self.listener().anonymous = _boolean(value)

    def password_file(self, value: str) -> None:
        """password_file"""
        self.security().password_file = os.path.abspath(value)

    def acl_file(self, value: str) -> None:
        """acl_file"""
        self.security().acl_file = os.path.abspath(value), self._at

    def protocol(self, value: str) -> None:
        """protocol"""
        place = self.listener()
        value = value.split(" ")[0]
        if value == "websockets":
            # Any path and any page, as there, unless websockets_origin says which.
            place.values = {"type": "websocket", **place.values, "paths": ["*"], "origins": place.values.get("origins", ["*"])}
        elif value == "http_api":
            place.closed = "protocol"
            raise Lost('a listener of type "http" has pages of its own, see port/cpython/README.md', closed=True)
        elif value != "mqtt":
            raise Lost("there is no protocol %s" % value, closed=True)

    def origin(self, value: str) -> None:
        """websockets_origin"""
        origins = self.listener().values.setdefault("origins", [])
        if origins == ["*"]:
            origins.clear()
        origins.append(value)

    def proxy_protocol(self, value: str) -> None:
        """enable_proxy_protocol"""
        place = self.listener()
        if place.values.get("type") == "unix" or place.values.get("host") in (LOCAL, "::1", "localhost"):
            place.values["proxy_protocol"] = True
        else:
            raise Lost("add proxy_protocol = true and the networks of the load balancers as trusted_proxies", closed=True)

    def mount_point(self, value: str) -> None:
        """mount_point"""
        if not value.endswith("/"):
            raise Lost("a mount_point must end in / here", closed=True)
        try:
            ListenerConfig({"mount_point": value})
        except ValueError as e:
            raise Lost(str(e).partition(": ")[2], closed=True) from None
        self.listener().values["mount_point"] = value

    def client_id_prefix(self, value: str) -> None:
        """clientid_prefixes"""
        if "%" in value or "*" in value:
            raise Lost("% and * in it mean something else here")
        self.option("client_id", value + "*")

    def expiry(self, value: str) -> None:
        """persistent_client_expiration"""
        value = value.split(" ")[0]
        unit = value[-1].lower()
        if unit not in _DAYS:
            raise Lost("must be a number and one of h, d, w, m, y")
        self.option("max_session_expiry", _number(value[:-1], 1) * _DAYS[unit])

    def inflight(self, value: str) -> None:
        """max_inflight_messages, which there means both ways"""
        for name in ("max_inflight", "receive_maximum"):
            self.option(name, _number(value, 0))

    def protocol_versions(self, value: str) -> None:
        """accept_protocol_versions"""
        self.own_option("accept_protocol_versions", [_number(item, 3, 5) for item in value.replace(",", " ").split()])

    def log_type(self, value: str) -> None:
        """log_type: one level, and all above it"""
        value = value.split(" ")[0]
        if value not in _LEVELS:
            raise Lost("there is no log type %s" % value)
        self._level = max(self._level, _ORDER.index(_LEVELS[value]))

    def log_dest(self, value: str) -> None:
        """log_dest"""
        lost = value.split(" ")[0] in ("topic", "none")
        self.note("the log goes to standard error, which the journal or the container keeps", LOST_LINE if lost else NEEDLESS)

    def connection_messages(self, value: str) -> None:
        """connection_messages"""
        if _boolean(value):
            self._level = max(self._level, _ORDER.index("info"))
        else:
            self._quiet = self._at[0], self._at[1]

    def persistence(self, value: str) -> None:
        """persistence"""
        self._persistent = _boolean(value)

    def persistence_location(self, value: str) -> None:
        """persistence_location"""
        self._location = value

    def autosave_on_changes(self, value: str) -> None:
        """autosave_on_changes"""
        self._store["durability"] = "sync" if _boolean(value) else "none"

    def certificate_field(self, name: str) -> Callable[[str], None]:
        """use_identity_as_username, use_subject_as_username"""

        def set_field(value: str) -> None:
            if _boolean(value):
                self.listener().certificate = name

        return set_field

    def require_certificate(self, value: str) -> None:
        """require_certificate"""
        self.listener().require = _boolean(value)

    def tls_version(self, value: str) -> None:
        """tls_version, the least there, too"""
        if value not in ("tlsv1.2", "tlsv1.3"):
            if value not in ("tlsv1", "tlsv1.1"):
                raise Lost("must be tlsv1.2 or tlsv1.3", closed=True)
            raise Lost("TLS below 1.2 is not spoken")
        self.listener().tls["minimum_version"] = value[4:]

    def tls_file(self, key: str) -> Callable[[str], None]:
        """certfile, keyfile, crlfile"""

        def set_file(value: str) -> None:
            self.listener().tls[key] = os.path.abspath(value)

        return set_file

    def cafile(self, value: str) -> None:
        """cafile: of the clients' certificates, or what completes the server's"""
        self.listener().authority = os.path.abspath(value)

    def psk_file(self, value: str) -> None:
        """psk_file"""
        self.security().psk_file = os.path.abspath(value)

    # -- the whole ------------------------------------------------------------------------------------

    def _finish(self) -> None:
        self._finish_log()
        if self._persistent:
            folder = os.path.abspath(self._location or ".")
            self.values["store"] = {"type": "sqlite", "file": os.path.join(folder, STORE), **self._store}
        if not self._places and self._local:
            local = Place({"host": LOCAL, "port": _PORT})
            local.anonymous = self._security.anonymous is not False
            self._places = [local]
        places = []
        for place in self._places:
            try:
                self._finish_place(place)
            except Lost as e:
                place.closed = place.closed or str(e)
            place.closed = place.closed or self._shut or _mistake(place)
            if place.closed:
                where = place.values.get("file") or "%s:%s" % (place.values.get("host", ""), place.values.get("port", ""))
                text = "listener %s is left out because of %s" % (where, place.closed)
                self.notes.append(Note(self._at[0], 0, "listener", text, LOST_LINE))
            else:
                places.append(place)
        self._finish_security(places)
        self.values["listener"] = [{**place.values, **({"tls": place.tls} if place.tls else {})} for place in places]

    def _finish_log(self) -> None:
        if self._quiet is not None and self._level >= _ORDER.index("info"):
            text = "clients as they come and go are told from the level info on, with the rest of it"
            self.notes.append(Note(*self._quiet, "connection_messages", text, LOST_LINE))
        elif self._quiet is not None and self._level < 0:
            self._level = _ORDER.index("warning")
        if self._level >= 0:
            self.values["log_level"] = _ORDER[self._level]

    def _finish_place(self, place: Place) -> None:
        if place.domain and place.values.get("host") == EVERYWHERE:
            if place.domain == "ipv4":
                place.values["host"] = "0.0.0.0"  # nosec B104 # as the file says
            else:
                raise Lost("socket_domain ipv6: %s is all addresses of IPv4, too" % EVERYWHERE)
        elif place.values.get("host") == EVERYWHERE and not _has_ipv6():
            place.values["host"] = "0.0.0.0"  # nosec B104 # as the file says
        if place.values.get("type", "tcp") != "websocket":
            place.values.pop("origins", None)
        psk = (place.security if self._per_listener else self._security).psk_file
        if "psk_hint" in place.tls:
            if not psk:
                raise Lost("psk_hint without psk_file")
            if not hasattr(ssl.SSLContext, "set_psk_server_callback"):
                raise Lost("psk_file, which takes Python 3.13")
            if place.certificate:
                raise Lost("use_identity_as_username with psk_file: the identity is no user name here")
            place.tls["psk_file"] = psk
        elif "certificate" not in place.tls and "key" not in place.tls:
            if place.require or place.certificate or "crl" in place.tls:
                raise Lost("certificates of clients without certfile")
            place.tls = {}  # mosquitto speaks no TLS without certfile
            return
        elif place.require or place.certificate:
            if not place.authority:
                raise Lost("certificates of clients without cafile")
            place.tls["client_ca"] = place.authority
            if not place.require:
                place.tls["require_client_certificate"] = False
        elif place.authority:
            place.tls["chain"] = place.authority
        if "crl" in place.tls and "client_ca" not in place.tls:
            del place.tls["crl"]  # no certificate is asked for

    def _finish_security(self, places: list[Place]) -> None:
        auth: dict[str, dict[str, Any]] = {}
        asked: list[list[str]] = []
        anonymous: list[str] = []
        for place in places:
            security = place.security if self._per_listener else self._security
            allowed = place.anonymous if place.anonymous is not None else bool(security.anonymous)
            names = []
            if place.certificate:
                names.append(_entry(auth, {"type": "certificate", "field": place.certificate}))
                allowed = False
            elif security.password_file:
                names.append(_entry(auth, {"type": "password_file", "file": security.password_file}))
            elif allowed and not self._plugins:  # mosquitto believes a user name that nobody checks
                names.append(_entry(auth, {"type": "allow"}))
            asked.append(names)
            anonymous.append("all" if allowed and not self._plugins else "none")
        if auth:
            self.values["auth"] = list(auth.values())
        same = all(names == list(auth) for names in asked)
        for place, names in zip(places, asked, strict=True):
            if not same:
                place.values["auth"] = names
        for place, who in zip(places, anonymous, strict=True):
            if len(set(anonymous)) == 1:
                self.values["anonymous"] = who
            else:
                place.values["anonymous"] = who
        self._finish_rights(places)

    def _finish_rights(self, places: list[Place]) -> None:
        """One file for all listeners is read by the broker; one for some is copied into their rules."""
        if not self._per_listener or len(places) == 1:
            files = [self._security.acl_file] if not self._per_listener else [place.security.acl_file for place in places]
            if files and files[0] is not None:
                self.values["acl_file"] = files[0][0]
            elif self._plugins:
                self.values["acl"] = []
            return
        for place in list(places):
            if place.security.acl_file is None:
                if self._plugins:
                    place.values["acl"] = []
                continue
            name, at = place.security.acl_file
            try:
                place.values["acl"] = mosquitto_acl.tables(name)
            except (OSError, ValueError) as e:
                text = "cannot read %s: %s" % (name, e.strerror) if isinstance(e, OSError) else str(e)
                self.notes.append(Note(*at, text + "; its listener is left out", LOST_LINE))
                places.remove(place)
            else:
                self.notes.append(Note(*at, "its rules are copied: changes of the file do not matter any more", DIFFERENT))


def _entry(auth: dict[str, dict[str, Any]], entry: dict[str, Any]) -> str:
    """The name of an entry of [[auth]], added unless it is there."""
    for name, other in auth.items():
        if {**entry, "name": name} == other:
            return name
    kind: str = entry["type"]
    name = kind if kind not in auth else "%s%d" % (kind, len(auth) + 1)
    auth[name] = {"name": name, **entry}
    return name


def _is_like_a_guard(option: str) -> bool:
    """Whether an unknown option may have been meant for one that says who may connect or do what."""
    name = re.sub("[^a-z0-9]", "", option.lower())
    for guard in _LIKE_GUARDS:
        whole = guard.replace("_", "")
        if name.startswith(whole) or whole.startswith(name):
            return True
    near = re.search(r"did you mean (\S+)\?", unknown("option", option.lower()[:_LONGEST], list(_BY_NAME)))
    return near is not None and near[1] in _LIKE_GUARDS


def _mistake(place: Place) -> str:
    """Why our configuration could not have this listener, empty if it can."""
    try:
        ListenerConfig({**place.values, **({"tls": place.tls} if place.tls else {})})
    except ValueError as e:
        return str(e)
    return ""


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


# -- values -------------------------------------------------------------------------------------------


_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?= |\Z)", re.ASCII)


def _boolean(value: str) -> bool:
    value = value.split(" ")[0]
    if value.lower() not in ("true", "1", "false", "0"):
        raise Lost("must be true or false")
    return value.lower() in ("true", "1")


def _number(value: str, least: int, most: int = 1 << 62) -> int:
    match = _NUMBER.match(value)
    if match is None:
        raise Lost("must be a whole number")
    found = int(match[0])
    if not least <= found <= most:
        raise Lost("must be from %d to %d" % (least, most) if most < 1 << 62 else "must be %d or more" % least)
    return found


def _checked(name: str, value: Any) -> Any:
    try:
        Options(**{name: value})
    except ValueError as e:
        raise Lost(str(e)) from None
    return value


# -- the table ----------------------------------------------------------------------------------------

Make = Callable[[Translation, str], None]


class Row(NamedTuple):
    """An option, what carries it over, and why nothing does, or what is different."""

    option: str
    make: Make
    note: str = ""


def NOTHING(translation: Translation, value: str) -> None:
    """Nothing is lost without this option."""


def LOST(translation: Translation, value: str) -> None:
    """There is nothing like this option."""


def _count(name: str, of: str = "option", nothing: int | None = None) -> Make:
    """A number; where it is `nothing` our default holds, which is as good."""

    def make(translation: Translation, value: str) -> None:
        found = _number(value, -1)
        if found != nothing:
            getattr(translation, of)(name, found)

    return make


def _keep_alive(translation: Translation, value: str) -> None:
    found = _number(value, 0, 65535)
    translation.option("max_keep_alive", 0 if found == 65535 else found)


def _switch(name: str, of: str = "option") -> Make:
    def make(translation: Translation, value: str) -> None:
        getattr(translation, of)(name, _boolean(value))

    return make


def _text(name: str, of: str = "option") -> Make:
    def make(translation: Translation, value: str) -> None:
        getattr(translation, of)(name, value)

    return make


def _only(expected: bool, why: str) -> Make:
    """A switch that is always in one position here."""

    def make(translation: Translation, value: str) -> None:
        translation.note(why, NEEDLESS if _boolean(value) is expected else LOST_LINE)

    return make


def _domain(translation: Translation, value: str) -> None:
    value = value.split(" ")[0]
    if value not in ("ipv4", "ipv6"):
        raise Lost("must be ipv4 or ipv6")
    translation.listener().domain = value


def _tls(key: str) -> Make:
    def make(translation: Translation, value: str) -> None:
        translation.listener().tls[key] = value

    return make


def _file(key: str) -> Make:
    return lambda translation, value: translation.tls_file(key)(value)


def _field(name: str) -> Make:
    return lambda translation, value: translation.certificate_field(name)(value)


def _closing(why: str) -> Make:
    """An option without which a listener would be open wider."""

    def make(translation: Translation, value: str) -> None:
        translation.listener()
        raise Lost(why, closed=True)

    return make


def _closing_unless(expected: bool, why: str) -> Make:
    def make(translation: Translation, value: str) -> None:
        if _boolean(value) is not expected:
            _closing(why)(translation, value)
        translation.note(why, NEEDLESS)

    return make


def _key_form(translation: Translation, value: str) -> None:
    if value != "pem":
        _closing("keys are PEM files")(translation, value)
    translation.note("keys are PEM files", NEEDLESS)


PLUGINS = (
    "plugins of mosquitto cannot be used, and what this one allowed nobody may do now; see [[auth]] for Redis, HTTP, MySQL, "
    "PostgreSQL and JWT, and hooks in a program"
)
BRIDGES = "bridges are not carried over"
_PLUGIN = ("plugin_opt_", "auth_opt_")

ROWS = (
    # -- the broker --
    Row("acl_file", Translation.acl_file),
    Row("allow_anonymous", Translation.allow_anonymous),
    Row("allow_duplicate_messages", _only(False, "a client gets one copy whatever the number of its filters that match")),
    Row("allow_zero_length_clientid", _switch("allow_zero_length_clientid", "secured_option")),
    Row("auth_plugin_deny_special_chars", _only(True, "such names match no rule that they would widen")),
    Row("auto_id_prefix", _text("auto_id_prefix", "secured_option")),
    Row("autosave_interval", NOTHING, "the store is written all the time, see durability of [store]"),
    Row("autosave_on_changes", Translation.autosave_on_changes, "all changes are written soon, see durability of [store]"),
    Row("check_retain_source", _switch("check_retain_source"), "rights from a back end are not asked about"),
    Row("clientid_prefixes", Translation.client_id_prefix),
    Row("connection_messages", Translation.connection_messages),
    Row("enable_control_api", _only(False, "there is no $CONTROL")),
    Row("global_max_clients", _count("max_sessions", nothing=-1), "a client too many is told 0x97"),
    Row("global_max_connections", _count("max_connections", nothing=-1), "a client too many is told 0x97"),
    Row("global_plugin", LOST, PLUGINS),
    Row("plugin", LOST, PLUGINS),
    Row("plugin_load", LOST, PLUGINS),
    Row("plugin_use", LOST, PLUGINS),
    Row("auth_plugin", LOST, PLUGINS),
    Row("include_dir", NOTHING, "its files are read in its place"),
    Row("log_dest", Translation.log_dest),
    Row("log_facility", NOTHING, "the log goes to standard error"),
    Row("log_timestamp", _only(True, "each line has a time")),
    Row("log_timestamp_format", NOTHING, "the time is as in 2026-01-31 12:00:00,000"),
    Row("log_type", Translation.log_type, "one level and all above it"),
    Row("max_inflight_bytes", _count("max_inflight_bytes"), "payloads of more than 1,024 bytes count"),
    Row("max_inflight_messages", Translation.inflight, "it means both ways"),
    Row("max_keepalive", _keep_alive, "it holds for MQTT 3, too"),
    Row("max_packet_size", _count("max_packet_size")),
    Row("max_queued_bytes", _count("max_queued_bytes"), "0 as there, up to max_memory"),
    Row("max_queued_messages", _count("max_queued_messages"), "0 as there, up to max_memory"),
    Row("memory_limit", _count("max_memory", nothing=0), "what is kept for clients, not the heap"),
    Row("message_size_limit", _count("message_size_limit"), "MQTT 5 clients are told 0x97"),
    Row("password_file", Translation.password_file),
    Row("per_listener_settings", Translation.per_listener),
    Row("persistence", Translation.persistence, "a file of our own; mosquitto.db cannot be read"),
    Row("retained_persistence", Translation.persistence, "a file of our own; mosquitto.db cannot be read"),
    Row("persistence_file", NOTHING, "the store is %s in persistence_location" % STORE),
    Row("persistence_location", Translation.persistence_location),
    Row("persistent_client_expiration", Translation.expiry),
    Row("pid_file", NOTHING, "the service manager knows"),
    Row("user", NOTHING, "the service manager starts it as another user"),
    Row("queue_qos0_messages", _switch("queue_qos0_messages"), "for clients that are there and slow, too"),
    Row("retain_available", _switch("retain_available")),
    Row("retain_expiry_interval", NOTHING, "what has expired goes within a minute; max_retained_expiry makes the rest expire, too"),
    Row("retry_interval", NOTHING, "what is unacknowledged is sent again when the client connects again, as in mosquitto 2"),
    Row("set_tcp_nodelay", NOTHING, "always so"),
    Row("sys_interval", _count("sys_interval")),
    Row("upgrade_outgoing_qos", _only(False, "it is against the standard [MQTT-3.8.4-8]")),
    # -- listeners --
    Row("listener", Translation.add_listener),
    Row("port", Translation.port),
    Row("bind_address", Translation.bind_address),
    Row("bind_interface", _closing("give an address of it as host of the listener")),
    Row("socket_domain", _domain),
    Row("protocol", Translation.protocol),
    Row("websockets_origin", Translation.origin),
    Row("websockets_headers_size", NOTHING, "not needed"),
    Row("websockets_log_level", NOTHING, "not needed"),
    Row("packet_buffer_size", NOTHING, "not needed"),
    Row("http_dir", LOST, "no files are served"),
    Row("accept_protocol_versions", Translation.protocol_versions),
    Row("enable_proxy_protocol", Translation.proxy_protocol),
    Row("proxy_protocol_v2_require_tls", _closing_unless(False, "what the proxy says of TLS is not looked at")),
    Row("listener_allow_anonymous", Translation.listener_allow_anonymous),
    Row("listener_auto_id_prefix", _text("auto_id_prefix", "own_option")),
    Row("max_connections", _count("max_connections", "own_option", nothing=-1)),
    Row("max_qos", _count("max_qos", "own_option")),
    Row("maximum_qos", _count("max_qos", "own_option")),
    Row("max_topic_alias", _count("topic_alias_maximum", "own_option")),
    Row("max_topic_alias_broker", _count("outbound_topic_aliases", "own_option")),
    Row("mount_point", Translation.mount_point),
    Row("use_username_as_clientid", _switch("use_username_as_clientid", "own_option")),
    Row("use_identity_as_username", _field("cn")),
    Row("use_subject_as_username", _field("subject")),
    # -- TLS --
    Row("certfile", _file("certificate")),
    Row("keyfile", _file("key"), "a password of the key goes into a file, key_password_file"),
    Row("cafile", Translation.cafile),
    Row("capath", _closing("one file with all of them is needed, client_ca or chain of tls")),
    Row("require_certificate", Translation.require_certificate),
    Row("crlfile", _file("crl")),
    Row("ciphers", _tls("ciphers"), "of TLS 1.2"),
    Row("ciphers_tls1.3", LOST, "Python's ssl cannot choose them"),
    Row("tls_version", Translation.tls_version),
    Row("dhparamfile", NOTHING, "ECDHE alone is used"),
    Row("disable_client_cert_date_checks", _only(False, "a certificate that has expired is none")),
    Row("tls_engine", _closing("Python's ssl has no engines")),
    Row("tls_engine_kpass_sha1", _closing("Python's ssl has no engines")),
    Row("tls_keyform", _key_form),
    Row("psk_file", Translation.psk_file, "takes Python 3.13; the identity is no user name"),
    Row("psk_hint", _tls("psk_hint")),
    # -- bridges --
    *(Row(name, LOST, BRIDGES) for name in _BRIDGE),
)  # fmt: skip
_BY_NAME = {row.option: row for row in ROWS}
