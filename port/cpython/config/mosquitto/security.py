"""Access control in a mosquitto.conf: users, rules, and listeners that a lost line would leave open."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from port.core.wire.suggest import unknown
from port.cpython.config.mosquitto import acl
from port.cpython.config.mosquitto.line import DIFFERENT, LOST_LINE, Draft, Lost, Note, boolean

if TYPE_CHECKING:
    from port.cpython.config.mosquitto.listeners import Listeners, Place

# Options of access control, of a listener, and of all without per_listener_settings.
GUARDS = (
    "listener", "require_certificate", "use_identity_as_username", "use_subject_as_username", "use_username_as_clientid",
    "certfile", "keyfile", "crlfile", "psk_hint", "listener_allow_anonymous", "accept_protocol_versions", "max_connections",
    "bind_interface", "cafile", "capath", "enable_proxy_protocol", "mount_point", "protocol", "proxy_protocol_v2_require_tls",
    "socket_domain", "tls_engine", "tls_engine_kpass_sha1", "tls_keyform", "websockets_origin",
)  # fmt: skip
GUARDS_OF_ALL = ("acl_file", "allow_anonymous", "password_file", "psk_file", "clientid_prefixes")
OF_EVERYTHING = ("include_dir", "per_listener_settings")  # without them the scope of other lines is unknown
_LIKE_GUARDS = (
    *GUARDS, *GUARDS_OF_ALL, "port", "bind_address", *OF_EVERYTHING, "plugin", "auth_plugin", "global_plugin", "plugin_load", "plugin_use",
)  # fmt: skip
_LONGEST = 40  # letters compared of an unknown option


@dataclass
class Security:
    """The settings of access control of the broker or, with per_listener_settings, of a listener."""

    anonymous: bool | None = None
    password_file: str = ""
    acl_file: tuple[str, tuple[str, int, str]] | None = None  # with the line that names it
    psk_file: str = ""


class Rights:
    """Access control of the broker or, with per_listener_settings, of each listener.

    plugins  the file has plugins, whose permissions are unknown
    """

    def __init__(self, draft: Draft, listeners: Listeners) -> None:
        self.plugins = False
        self.per_listener = False
        self._draft = draft
        self._listeners = listeners
        self._of_all = Security()
        self._secured = False  # a line about users and rights was read, of any scope

    def of(self, place: Place) -> Security:
        """The settings in force for a listener."""
        return place.security if self.per_listener else self._of_all

    @property
    def allows_anonymous(self) -> bool:
        """True when no setting demands a user name."""
        return self._of_all.anonymous is not False

    def _meant(self) -> Security:
        """The settings that the present line is about."""
        self._secured = True
        return self._listeners.listener().security if self.per_listener else self._of_all

    def option(self, name: str, value: Any) -> None:
        """Set an option that belongs to the listener with per_listener_settings."""
        self._secured = True
        (self._listeners.own_option if self.per_listener else self._draft.option)(name, value)

    def set_per_listener(self, value: str) -> None:
        """per_listener_settings, which cannot be reverted"""
        wanted = boolean(value)
        if wanted and not self.per_listener and self._secured:
            raise Lost("must stand before all options that it affects")
        self.per_listener = self.per_listener or wanted

    def allow_anonymous(self, value: str) -> None:
        """allow_anonymous"""
        self._meant().anonymous = boolean(value)

    def password_file(self, value: str) -> None:
        """password_file"""
        self._meant().password_file = os.path.abspath(value)

    def acl_file(self, value: str) -> None:
        """acl_file"""
        self._meant().acl_file = os.path.abspath(value), self._draft.at

    def psk_file(self, value: str) -> None:
        """psk_file"""
        self._meant().psk_file = os.path.abspath(value)

    def client_id_prefix(self, value: str) -> None:
        """clientid_prefixes"""
        if "%" in value or "*" in value:
            raise Lost("% and * in it have another meaning here")
        self._draft.option("client_id", value + "*")

    # -- the end ----------------------------------------------------------------------------------

    def finish(self, places: list[Place]) -> None:
        """Apply the settings of access control to the remaining listeners."""
        auth: dict[str, dict[str, Any]] = {}
        asked: list[list[str]] = []
        anonymous: list[str] = []
        for place in places:
            security = self.of(place)
            allowed = place.anonymous if place.anonymous is not None else bool(security.anonymous)
            names = []
            if place.certificate:
                names.append(_entry(auth, {"type": "certificate", "field": place.certificate}))
                allowed = False
            elif security.password_file:
                names.append(_entry(auth, {"type": "password_file", "file": security.password_file}))
            elif allowed and not self.plugins:  # mosquitto accepts an unchecked user name
                names.append(_entry(auth, {"type": "allow"}))
            asked.append(names)
            anonymous.append("all" if allowed and not self.plugins else "none")
        if auth:
            self._draft.values["auth"] = list(auth.values())
        same = all(names == list(auth) for names in asked)
        for place, names in zip(places, asked, strict=True):
            if not same:
                place.values["auth"] = names
        for place, who in zip(places, anonymous, strict=True):
            if len(set(anonymous)) == 1:
                self._draft.values["anonymous"] = who
            else:
                place.values["anonymous"] = who
        self._finish_rights(places)

    def _finish_rights(self, places: list[Place]) -> None:
        """The broker reads a file for all listeners; a file for some is copied into their rules."""
        if not self.per_listener or len(places) == 1:
            files = [self._of_all.acl_file] if not self.per_listener else [place.security.acl_file for place in places]
            if files and files[0] is not None:
                self._draft.values["acl_file"] = files[0][0]
            elif self.plugins:
                self._draft.values["acl"] = []
            return
        for place in list(places):
            if place.security.acl_file is None:
                if self.plugins:
                    place.values["acl"] = []
                continue
            name, at = place.security.acl_file
            try:
                place.values["acl"] = acl.tables(name)
            except (OSError, ValueError) as e:
                text = "cannot read %s: %s" % (name, e.strerror) if isinstance(e, OSError) else str(e)
                self._draft.notes.append(Note(*at, text + "; its listener is left out", LOST_LINE))
                places.remove(place)
            else:
                self._draft.notes.append(Note(*at, "its rules are copied: later changes of the file have no effect", DIFFERENT))


def _entry(auth: dict[str, dict[str, Any]], entry: dict[str, Any]) -> str:
    """The name of an entry of [[auth]], added unless it is there."""
    for name, other in auth.items():
        if {**entry, "name": name} == other:
            return name
    kind: str = entry["type"]
    name = kind if kind not in auth else "%s%d" % (kind, len(auth) + 1)
    auth[name] = {"name": name, **entry}
    return name


def is_like_a_guard(option: str, known: list[str]) -> bool:
    """Whether an unknown option may be meant as one of access control."""
    name = re.sub("[^a-z0-9]", "", option.lower())
    for guard in _LIKE_GUARDS:
        whole = guard.replace("_", "")
        if name.startswith(whole) or whole.startswith(name):
            return True
    near = re.search(r"did you mean (\S+)\?", unknown("option", option.lower()[:_LONGEST], known))
    return near is not None and near[1] in _LIKE_GUARDS
