"""The common part of `pub` and `sub`: the connection, made with paho-mqtt, and its options, those of mosquitto's clients.

The library is imported with the first connection, so --help works without it.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from port.core.wire.codec import is_utf8
from port.core.wire.topics import valid_filter, valid_name, without_share
from port.core.limits import ip_address
from port.cpython.cli import fail
from port.cpython.config.escape import printable
from port.cpython.extras import install

if TYPE_CHECKING:
    from paho.mqtt.properties import Properties

    from port.cpython.cli.receiver import Receiver

PORT, TLS_PORT = 1883, 8883
WEB_PATH = "/mqtt"  # of a WebSocket URL
ANSWER = 30.0  # s for the broker's answer to CONNECT
GOODBYE = 2.0  # s for the broker to close the connection after DISCONNECT
VERSIONS = {"31": 3, "mqttv31": 3, "311": 4, "mqttv311": 4, "5": 5, "mqttv5": 5}
_TLS = {"mqtts": "tcp", "wss": "websockets"}
_PLAIN = {"mqtt": "tcp", "ws": "websockets"}
_STRINGS = {"-h": "host", "-i": "id", "-u": "username", "-P": "password"}
_PACKETS = ("connect", "publish", "subscribe", "unsubscribe", "disconnect", "will")
_NUMBERS = ("Interval", "Maximum", "Indicator", "Alias", "Identifier", "Information", "Size")
EXIT_STATUS = """Exit status: 0 done, 1 no connection, or the broker refused something, 2 misuse"""
EPILOG = """\
A password on the command line can be seen by others. It is taken from --password-file, or from the variable MQTT_PASSWORD,
just as well; the user name from MQTT_USERNAME. Needs the Python library paho-mqtt: %s.
""" % install("client")


class ClientError(Exception):
    """An error; its text names the option, file or broker at fault."""


class _Property(argparse.Action):
    """-D PACKET NAME VALUE, or for user-property NAME VALUE."""

    def __call__(self, parser: argparse.ArgumentParser, args: argparse.Namespace, values: Any, option: str | None = None) -> None:
        packet, name, *rest = [*values, ""] if len(values) < 2 else values
        if packet.lower() not in _PACKETS:
            parser.error("%s: the packet must be one of %s, not %r" % (option, ", ".join(_PACKETS).upper(), packet))
        if len(rest) != (2 if name == "user-property" else 1):
            parser.error(
                "%s: %s takes %s" % (option, name or packet, "a name and a value" if name == "user-property" else "a value")
            )
        getattr(args, self.dest).append((packet.lower(), name, rest))


def qos(text: str) -> int:
    """A QoS of the command line."""
    if text not in ("0", "1", "2"):
        raise argparse.ArgumentTypeError("must be 0, 1 or 2, not %r" % text)
    return int(text)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a connection; -h is the host, as in mosquitto's clients."""
    parser.add_argument("--help", action="help", help="show this help and exit")
    group = parser.add_argument_group("connection")
    add = group.add_argument
    add("-h", "--host", metavar="HOST", help="the broker (default localhost)")
    add("-p", "--port", type=int, metavar="PORT", help="its port (default %d, with TLS %d)" % (PORT, TLS_PORT))
    text = (
        "mqtt(s)://[USER[:PASSWORD]@]HOST[:PORT][/TOPIC] in place of -h, -p, -u, -P and -t, or "
        "ws(s)://[USER[:PASSWORD]@]HOST[:PORT][/PATH] for WebSocket (default path %s), where the topic is still -t"
    )
    add("-L", "--url", metavar="URL", help=text % WEB_PATH)
    add("--unix", metavar="FILE", help="a Unix socket in place of host and port")
    add("-i", "--id", metavar="ID", help="client id (default: one that the broker or the library makes)")
    add("-k", "--keepalive", type=int, default=60, metavar="SECONDS", help="keep alive (default %(default)s)")
    add("-V", "--protocol-version", choices=VERSIONS, default="311", metavar="VERSION", help="31, 311 (default) or 5")
    add("-c", "--disable-clean-session", action="store_true", help="keep the session; needs -i")
    add("-x", "--session-expiry-interval", type=int, metavar="SECONDS", help="time that the session is kept, MQTT 5 only")
    text = "an MQTT 5 property: PACKET is connect, publish, subscribe, unsubscribe, disconnect or will, NAME as in content-type"
    add("-D", "--property", dest="properties", action=_Property, nargs="+", default=[], metavar="PACKET NAME VALUE", help=text)
    add("-d", "--debug", action="store_true", help="show packets on standard error")
    group = parser.add_argument_group("who it is")
    add = group.add_argument
    add("-u", "--username", metavar="USER", help="user name")
    add("-P", "--pw", dest="password", metavar="PASSWORD", help="password; other users of the machine may see it")
    add("--password-file", metavar="FILE", help="file whose first line is the password")
    group = parser.add_argument_group("TLS")
    add = group.add_argument
    add("--cafile", metavar="FILE", help="certificates of trusted authorities, PEM")
    add("--capath", metavar="FOLDER", help="folder of such certificates, made by `openssl rehash`")
    add(
        "--tls-use-os-certs", action="store_true", help="trust the authorities of this system (default with port %d)" % TLS_PORT
    )
    add("--cert", metavar="FILE", help="the client's own certificate, PEM")
    add("--key", metavar="FILE", help="its key, PEM")
    add("--insecure", action="store_true", help="do not compare the name in the broker's certificate with the host")
    add(
        "--tls-version",
        choices=("tlsv1.2", "tlsv1.3"),
        metavar="VERSION",
        help="lowest version, tlsv1.2 or tlsv1.3 (default tlsv1.2)",
    )
    group = parser.add_argument_group("will")
    add = group.add_argument
    add("--will-topic", metavar="TOPIC", help="topic of the will, which the broker publishes if this client is lost")
    add("--will-payload", metavar="TEXT", help="its payload (default: empty)")
    add("--will-qos", type=qos, default=0, metavar="QOS", help="its QoS (default 0)")
    add("--will-retain", action="store_true", help="retain it")


def apply_url(parser: argparse.ArgumentParser, args: argparse.Namespace) -> str:
    """Take over the URL of -L, and check the options together; returns the topic of the URL or an empty string.

    The path of mqtt:// is the topic, as in mosquitto's clients; the path of ws:// is the WebSocket's.
    """
    args.transport, args.tls, args.path = "tcp", False, WEB_PATH
    topic = ""
    if args.url is not None:
        for name in ("host", "port", "unix"):
            if getattr(args, name) is not None:
                parser.error("-L and %s cannot be together" % {"host": "-h", "port": "-p", "unix": "--unix"}[name])
        try:
            parts = urlsplit(args.url, allow_fragments=False)  # a topic filter may contain #
            args.port = parts.port
        except ValueError as e:
            parser.error("-L: %s" % e)
        args.tls = parts.scheme in _TLS
        transport = _TLS.get(parts.scheme) or _PLAIN.get(parts.scheme)
        if transport is None or not parts.hostname:
            parser.error(
                "-L must be mqtt://, mqtts://, ws:// or wss:// and a host, not %r"
                % parts._replace(netloc=parts.hostname or "").geturl()
            )
        args.transport, args.host = transport, parts.hostname
        path = parts.path + ("?" + parts.query if parts.query else "")
        if transport == "websockets":
            args.path = path or WEB_PATH
            if args.port is None:
                args.port = 443 if args.tls else 80
        else:
            topic = unquote(path[1:])
            if topic and args.topic:
                parser.error("-t and the topic of -L, %s, cannot be together" % topic)
        for option, name, value in (("-u", "username", parts.username), ("-P", "password", parts.password)):
            if value:
                if getattr(args, name) is not None:
                    parser.error("%s and the %s of -L cannot be together" % (option, {"-u": "user name"}.get(option, name)))
                setattr(args, name, unquote(value))
    if args.unix is not None and (args.host is not None or args.port is not None):
        parser.error("--unix and -h or -p cannot be together")
    if args.disable_clean_session and args.id is None:
        parser.error("-c needs -i, a session belongs to a client id")
    if bool(args.cert) != bool(args.key):
        parser.error("--cert and --key need each other")
    if VERSIONS[args.protocol_version] != 5:
        for name, value in (("-D", args.properties), ("-x", args.session_expiry_interval)):
            if value:
                parser.error("%s needs -V 5" % name)
    if args.will_topic is None and (args.will_payload is not None or args.will_qos or args.will_retain):
        parser.error("--will-payload, --will-qos and --will-retain need --will-topic")
    if args.password is not None and args.password_file is not None:
        parser.error("-P and --password-file cannot be together")
    for name, number, most in (("-k", args.keepalive, 0xFFFF), ("-x", args.session_expiry_interval, 0xFFFFFFFF)):
        if number is not None and not 0 <= number <= most:
            parser.error("%s must be from 0 to %d, not %d" % (name, most, number))
    for name, dest in _STRINGS.items():
        if not _is_string(getattr(args, dest) or ""):
            parser.error("%s must be UTF-8 of up to 65535 bytes" % name)
    _check_topics(parser, args, topic)
    return topic


def _check_topics(parser: argparse.ArgumentParser, args: argparse.Namespace, topic: str) -> None:
    """Check topic names and filters before connecting; `topic`: that of -L."""
    names: list[tuple[str, str | None]] = [("--will-topic", args.will_topic)]
    filters: list[tuple[str, str]] = []
    if isinstance(args.topic, list):
        filters += [("-L", topic)] if topic else []
        for option, given in (("-t", args.topic), ("-T", args.filter_out), ("-U", args.unsubscribe)):
            filters += [(option, name) for name in given]
    else:
        names += [("-L", topic or None), ("-t", args.topic)]
    for option, found in names:
        if found is None:
            continue
        encoded = found.encode(errors="surrogateescape")
        wrong = _wrong(encoded) or ("" if valid_name(encoded) else "+ and # are for subscribers")
        if wrong:
            parser.error("%s: %.80r is no topic name: %s" % (option, found, wrong))
    for option, name in filters:
        encoded = name.encode(errors="surrogateescape")
        wrong = _wrong(encoded) or ("" if valid_filter(encoded) else "+ stands for a whole level, # for all levels at the end")
        if wrong:
            parser.error("%s: %.80r is no topic filter: %s" % (option, name, wrong))
        if not without_share(encoded):
            parser.error("%s: %.80r is no shared subscription, which is $share/NAME/FILTER" % (option, name))


def _wrong(name: bytes) -> str:
    """The error in a topic name or filter, apart from wildcards; empty without one."""
    if not name:
        return "it is empty"
    if len(name) > 0xFFFF:
        return "it has more than 65535 bytes"
    return "" if is_utf8(name) else "it is not UTF-8, or has a NUL"


def _is_string(text: str) -> bool:
    """True when an argument can be a string of MQTT; Python turns bytes that are not UTF-8 into halves of surrogate pairs."""
    return not re.search("[\ud800-\udfff]", text) and len(text.encode()) <= 0xFFFF


def properties(args: argparse.Namespace, packet: str) -> Properties | None:
    """The properties of -D for a packet, None without -V 5. Raises ClientError."""
    if VERSIONS[args.protocol_version] != 5:
        return None
    from paho.mqtt import MQTTException
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    kind = PacketTypes.WILLMESSAGE if packet == "will" else getattr(PacketTypes, packet.upper())
    found: Any = Properties(kind)  # type: ignore[no-untyped-call]
    for wanted, name, values in args.properties:
        if wanted != packet:
            continue
        key = "".join(word.capitalize() for word in name.split("-"))
        value: Any = tuple(values) if len(values) == 2 else values[0]
        try:
            if key.endswith(_NUMBERS) and key not in ("AssignedClientIdentifier", "ResponseInformation"):
                value = int(value)
            elif key.endswith("Data"):
                value = os.fsencode(value)
            if key not in [known.replace(" ", "") for known in found.names]:
                raise ClientError("-D: there is no property %s" % name)
            setattr(found, key, value)
            found.pack()  # raises an error naming a wrong value
        except (MQTTException, ValueError, struct.error) as e:
            raise ClientError("-D %s %s: %s" % (packet, name, e)) from None
    if packet == "connect" and args.session_expiry_interval is not None:
        found.SessionExpiryInterval = args.session_expiry_interval
    elif packet == "connect" and args.disable_clean_session and not hasattr(found, "SessionExpiryInterval"):
        found.SessionExpiryInterval = 0xFFFFFFFF
    made: Properties = found
    return made


class Link:
    """A connection to the broker, served by the library's thread; `done` is set when the work is over or has failed.

    client  the library's client
    error   the reason of a failure, empty without one
    """

    def __init__(self, args: argparse.Namespace) -> None:
        """Raises ClientError naming the option or file that is wrong."""
        try:
            from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

            from port.cpython.cli.receiver import Receiver
        except ImportError:
            raise ClientError("the Python library paho-mqtt, 2.0 or newer, is missing: " + install("client")) from None
        self.args = args
        self.done = threading.Event()
        self.error = ""
        self._answered = threading.Event()
        self._refusal = ""
        self._leaving = False
        version = VERSIONS[args.protocol_version]
        transport: Any = "unix" if args.unix is not None else args.transport
        clean = None if version == 5 else not args.disable_clean_session
        try:
            self.client = Receiver(
                CallbackAPIVersion.VERSION2,
                args.id or "",
                clean_session=clean,
                protocol=MQTTProtocolVersion(version),
                transport=transport,
            )
        except ValueError as e:
            raise ClientError(str(e)) from None
        if transport == "websockets":
            self.client.ws_set_options(path=args.path)
        self._identify()
        self._tls()
        if args.will_topic is not None:
            try:
                will = (args.will_payload or "").encode(errors="surrogateescape")
                self.client.will_set(args.will_topic, will, args.will_qos, args.will_retain, properties(args, "will"))
            except ValueError as e:
                raise ClientError("--will-topic: %s" % e) from None
        self.client.on_crash = self._crashed
        self.client.on_connect = self._connected
        self.client.on_disconnect = self._disconnected
        self.client.on_socket_close = self._closing
        if args.debug:
            self.client.on_log = lambda client, userdata, level, text: print(printable(text), file=sys.stderr, flush=True)

    def _identify(self) -> None:
        args = self.args
        user = args.username if args.username is not None else os.environ.get("MQTT_USERNAME")
        password = args.password
        if args.password_file is not None:
            try:
                with open(args.password_file, "rb") as file:
                    password = file.readline().rstrip(b"\r\n").decode()
            except OSError as e:
                raise ClientError("--password-file: cannot read %s: %s" % (args.password_file, e.strerror)) from None
            except UnicodeDecodeError:
                raise ClientError("--password-file %s: not valid UTF-8" % args.password_file) from None
        elif password is None and user is not None:
            password = os.environ.get("MQTT_PASSWORD")
        if user is None and password is not None:
            raise ClientError("a password needs a user name, -u")
        for name, text in (("user name", user), ("password", password)):
            if not _is_string(text or ""):
                raise ClientError("the %s must be UTF-8 of up to 65535 bytes" % name)
        if user is not None:
            self.client.username_pw_set(user, password)

    def _tls(self) -> None:
        args = self.args
        wanted = args.tls or args.cafile or args.capath or args.cert or args.tls_use_os_certs or args.port == TLS_PORT
        if not wanted:
            return
        for option, path in (("--cafile", args.cafile), ("--capath", args.capath), ("--cert", args.cert), ("--key", args.key)):
            if path is not None and not os.access(path, os.R_OK):
                raise ClientError("%s: cannot read %s" % (option, path))
        try:
            context = ssl.create_default_context(cafile=args.cafile, capath=args.capath)
        except ssl.SSLError as e:
            raise ClientError("--cafile %s: %s" % (args.cafile, e.reason or e)) from None
        except OSError as e:
            raise ClientError("--cafile %s: %s" % (args.cafile, e.strerror)) from None
        context.minimum_version = ssl.TLSVersion.TLSv1_3 if args.tls_version == "tlsv1.3" else ssl.TLSVersion.TLSv1_2
        if args.cert is not None:
            try:
                context.load_cert_chain(args.cert, args.key)
            except ssl.SSLError as e:
                raise ClientError("--cert %s, --key %s: %s" % (args.cert, args.key, e.reason or e)) from None
        self.client.tls_set_context(context)
        self.client.tls_insecure_set(args.insecure)
        self.tls = True

    tls = False

    @property
    def place(self) -> str:
        """The broker's address as text."""
        args = self.args
        path = args.path if args.transport == "websockets" else ""
        return args.unix or ip_address.text(args.host or "localhost", self.port) + path.partition("?")[0]

    @property
    def port(self) -> int:
        """The broker's port."""
        found: int | None = self.args.port
        return found if found is not None else TLS_PORT if self.tls else PORT

    def open(self) -> None:
        """Connect and wait for the broker's answer. Raises ClientError."""
        args = self.args
        more: dict[str, Any] = {}
        if VERSIONS[args.protocol_version] == 5:
            more = {"clean_start": not args.disable_clean_session, "properties": properties(args, "connect")}
        try:
            host = args.unix if args.unix is not None else args.host or "localhost"
            self.client.connect(host, self.port, args.keepalive, **more)
        except ssl.SSLCertVerificationError as e:
            raise ClientError("%s: the broker's certificate is not believed: %s" % (self.place, e.verify_message)) from None
        except ssl.SSLError as e:
            raise ClientError("%s: TLS: %s" % (self.place, e.reason or e)) from None
        except OSError as e:
            raise ClientError("cannot connect to %s: %s" % (self.place, e.strerror or e)) from None
        except ValueError as e:
            raise ClientError(str(e)) from None
        self.client.loop_start()
        if not self._answered.wait(ANSWER):
            raise ClientError("%s does not answer" % self.place)
        if self._refusal:
            raise ClientError("%s: %s" % (self.place, self._refusal))

    def close(self) -> None:
        """Send DISCONNECT and wait for the library's thread."""
        self._leaving = True
        self.client.disconnect(properties=properties(self.args, "disconnect"))
        self.client.loop_stop()

    def end(self, error: str = "") -> None:
        """Set `done`, with an error or without."""
        self.error = self.error or error
        self.done.set()

    def ready(self) -> None:
        """Called on each connection; for subclasses."""

    def lost(self, reason: str) -> None:
        """Called when the connection is lost."""
        self.end("%s: the connection was lost: %s" % (self.place, reason))

    def _closing(self, client: Any, userdata: Any, sock: Any) -> None:
        # Closing a socket with unread bytes resets the connection, and the broker may miss the last acknowledgements.
        if not self._leaving:
            return
        deadline = time.monotonic() + GOODBYE
        try:
            with socket.socket(fileno=os.dup(sock.fileno())) as plain:
                plain.shutdown(socket.SHUT_WR)
                while (left := deadline - time.monotonic()) > 0:
                    plain.settimeout(left)
                    if not plain.recv(65536):
                        break
        except OSError:
            pass  # it is closed anyway

    def _crashed(self, error: Exception) -> None:
        self.end("%s: unexpected %s: %s" % (self.place, type(error).__name__, error))
        self._answered.set()

    def _connected(self, client: Any, userdata: Any, flags: Any, code: Any, properties: Any) -> None:
        if code.is_failure:
            self._refusal = "the broker refuses the connection: %s" % reason_of(code, properties)
        else:
            self._refusal = ""
            if not flags.session_present:
                client.forget()
            self.ready()
        self._answered.set()

    def _disconnected(self, client: Any, userdata: Any, flags: Any, code: Any, properties: Any) -> None:
        if not self._answered.is_set():
            self._refusal = "the broker ended the connection before it answered CONNECT"
            self._answered.set()
        elif not self._refusal and not self.done.is_set():
            self.lost(reason_of(code, properties))


def reason_of(code: Any, properties: Any) -> str:
    """A reason code in words, with the broker's Reason String."""
    text = str(code).lower()
    said = getattr(properties, "ReasonString", "") if properties is not None else ""
    return "%s (0x%02X)%s" % (text, code.value, ", " + printable(said) if said else "")


def run(name: str, work: Any, args: argparse.Namespace) -> int:
    """Do a command's work; returns its exit status, or 1 after printing an error."""
    try:
        status: int = work(args)
    except ClientError as e:
        return 1 if getattr(args, "quiet", False) else fail("%s: %s" % (name, e))
    return status


def misuse(parser: argparse.ArgumentParser, given: Sequence[tuple[str, Any]]) -> None:
    """Refuse options that exclude each other: at most one of (name, value) may be given."""
    names = [name for name, value in given if value not in (None, False)]
    if len(names) > 1:
        parser.error("%s cannot be together" % " and ".join(names))
