"""Listeners of a mosquitto.conf, and the translation of the lines about each of them."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from typing import Any

from port.core.config.listener_config import ListenerConfig
from port.cpython.config.mosquitto import tls
from port.cpython.config.mosquitto.line import Draft, Lost, boolean, checked, number
from port.cpython.config.mosquitto.security import Security

LOCAL, EVERYWHERE = "127.0.0.1", "::"
_PORT = 1883
OF_DEFAULT = ("port", "bind_address")  # without such a line the default listener would listen elsewhere


@dataclass
class Place:
    """A listener of mosquitto: its translation, and values settled only at the end."""

    values: dict[str, Any] = field(default_factory=dict)
    tls: dict[str, Any] = field(default_factory=dict)
    security: Security = field(default_factory=Security)
    domain: str = ""
    anonymous: bool | None = None  # listener_allow_anonymous
    require: bool = False
    certificate: str = ""  # the field that becomes the user name
    authority: str = ""  # its cafile
    closed: str = ""  # the reason for leaving it out


class Listeners:
    """The listeners, and the one that present lines are about.

    places  all, in the order of the file; the default one is first
    local   no listener is configured: only this machine may connect
    """

    def __init__(self, draft: Draft) -> None:
        self.places: list[Place] = []
        self.local = True
        self._draft = draft
        self._default: Place | None = None
        self._own: Place | None = None

    def begin_file(self) -> Place | None:
        """Begin a file, with the default listener; returns the argument for `end_file`."""
        own, self._own = self._own, None
        return own

    def end_file(self, own: Place | None) -> None:
        """Return to the file that included this one."""
        self._own = own

    def begin_line(self, option: str) -> None:
        """Begin a line with this option."""
        self.local = self.local and option != "listener" and option not in OF_DEFAULT

    def listener(self) -> Place:
        """The listener that lines are about; before the first one it is the default one, which such lines create."""
        return self._own if self._own is not None else self.default()

    def default(self) -> Place:
        """The default listener, created if need be."""
        if self._default is None:
            self._default = Place({"host": EVERYWHERE, "port": _PORT})
            self.places.insert(0, self._default)
        self._own = self._default
        return self._default

    def own_option(self, name: str, value: Any) -> None:
        """Set an option of the listener."""
        self.listener().values[name] = checked(name, value)

    # -- options --------------------------------------------------------------------------------

    def add_listener(self, value: str) -> None:
        """listener PORT [ADDRESS], or 0 FILE"""
        port, host = [*(part for part in value.split(" ") if part), ""][:2]
        host = "" if host.startswith("#") else host
        self._own = Place()
        if port == "0" and host:
            self._own.values = {"type": "unix", "file": os.path.abspath(host)}
        else:
            self._own.values = {"host": host or EVERYWHERE, "port": number(port, 1, 65535)}
        self.places.append(self._own)

    def port(self, value: str) -> None:
        """port, of the default listener"""
        place = self.default()
        place.values["port"] = number(value, 1, 65535)

    def bind_address(self, value: str) -> None:
        """bind_address, of the default listener"""
        self.default().values["host"] = value

    def domain(self, value: str) -> None:
        """socket_domain"""
        value = value.split(" ")[0]
        if value not in ("ipv4", "ipv6"):
            raise Lost("must be ipv4 or ipv6")
        self.listener().domain = value

    def listener_allow_anonymous(self, value: str) -> None:
        """listener_allow_anonymous"""
        self.listener().anonymous = boolean(value)

    def protocol(self, value: str) -> None:
        """protocol"""
        place = self.listener()
        value = value.split(" ")[0]
        if value == "websockets":
            # Any path and any page, as in mosquitto, unless websockets_origin names them.
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

    def protocol_versions(self, value: str) -> None:
        """accept_protocol_versions"""
        self.own_option("accept_protocol_versions", [number(item, 3, 5) for item in value.replace(",", " ").split()])

    # -- the end ----------------------------------------------------------------------------------

    def finish(self, place: Place, psk_file: str) -> None:
        """Settle values that depend on all lines. Raises Lost."""
        if place.domain and place.values.get("host") == EVERYWHERE:
            if place.domain == "ipv4":
                place.values["host"] = "0.0.0.0"  # nosec B104 # as the file says
            else:
                raise Lost("socket_domain ipv6: %s is all addresses of IPv4, too" % EVERYWHERE)
        elif place.values.get("host") == EVERYWHERE and not _has_ipv6():
            place.values["host"] = "0.0.0.0"  # nosec B104 # as the file says
        if place.values.get("type", "tcp") != "websocket":
            place.values.pop("origins", None)
        tls.finish(place, psk_file)


def mistake(place: Place) -> str:
    """The reason why our configuration cannot have this listener, empty if it can."""
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
