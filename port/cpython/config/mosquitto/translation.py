"""Translates whole files of mosquitto.conf(5).

table.py has a row for each option: `make` carries it over, or is `NOTHING` if nothing is lost without it, `LOST` if something
is; `note` gives the reason. A line whose value cannot be carried over is lost, too, with the reason. Nothing is guessed: our
defaults hold for everything that no line sets, except the access control, which is always written out.

Files are named as `mosquitto -c FILE`, started in the same folder, would find them. Those of its `include_dir` are read
where they are included. A listener that a lost line would leave open wider than mosquitto's is left out; all listeners
are if the line may be about all of them. With plugins of access control, clients get only the rights of users and rules
in files. An unknown option with a name like one of access control counts as one.

The name of an option ends at the first space, not at other blanks; for its value see line.py.
"""

from __future__ import annotations

import os
from typing import Any

from port.cpython.config.mosquitto.line import BLANKS, DIFFERENT, LOST_LINE, NEEDLESS, Draft, Lost, Note, text
from port.cpython.config.mosquitto.listeners import LOCAL, OF_DEFAULT, Listeners, Place, mistake
from port.cpython.config.mosquitto.log import Log
from port.cpython.config.mosquitto.persistence import Persistence
from port.cpython.config.mosquitto.security import GUARDS, GUARDS_OF_ALL, OF_EVERYTHING, Rights, is_like_a_guard
from port.cpython.config.mosquitto.table import BY_NAME, LOST, NOTHING, PLUGIN, PLUGINS

_PORT = 1883


class Translation:
    """The translation of a configuration of mosquitto.

    values  our configuration, as in a TOML file
    notes   notes about single lines, in their order
    """

    def __init__(self, path: str) -> None:
        """Raises OSError naming a file that cannot be read."""
        self.draft = Draft(path)
        self.listeners = Listeners(self.draft)
        self.rights = Rights(self.draft, self.listeners)
        self.persistence = Persistence(self.draft)
        self.log = Log(self.draft)
        self._shut = ""  # a lost option without which all listeners would be open wider
        self._read(path, main=True)
        self._finish()

    @property
    def values(self) -> dict[str, Any]:
        """Our configuration."""
        return self.draft.values

    @property
    def notes(self) -> list[Note]:
        """Notes about single lines."""
        return self.draft.notes

    # -- lines ----------------------------------------------------------------------------------

    def _read(self, path: str, main: bool) -> None:
        with open(path, "rb") as file:
            lines = file.read().split(b"\n")
        own = self.listeners.begin_file()
        for number, line in enumerate(lines, 1):
            words = line.decode(errors="backslashreplace").strip(BLANKS)
            if line.startswith(b"#") or not words:
                continue
            option, _, value = words.partition(" ")
            self.draft.at = (path, number, option)
            try:
                if b"\0" in line:
                    self._shut = option
                    raise Lost("mosquitto reads no further than a NUL character")
                if words.encode() != line.strip(BLANKS.encode()):
                    raise Lost("not valid UTF-8")
                if option == "include_dir":
                    self._include(text(value), main)
                else:
                    self._line(option, value.strip(BLANKS))
            except Lost as e:
                self._lose(e)
        self.listeners.end_file(own)

    def _line(self, option: str, value: str) -> None:
        row = BY_NAME.get(option)
        self.listeners.begin_line(option)
        if row is None:
            if not option.startswith(PLUGIN):
                raise Lost("this option is unknown to mosquitto 2, too")
            self.rights.plugins = True
            raise Lost(PLUGINS)
        self.rights.plugins = self.rights.plugins or row.note == PLUGINS
        if row.make is LOST or row.make is NOTHING:
            self.draft.note(row.note, LOST_LINE if row.make is LOST else NEEDLESS)
            return
        if not value:
            raise Lost("its value is missing", closed=option == "tls_version")
        if option != "accept_protocol_versions":  # its numbers may be separated by tabs
            text(value)
        row.make(self, value)
        if row.note:
            self.draft.note(row.note, DIFFERENT)

    def _include(self, name: str, main: bool) -> None:
        if not main:
            raise Lost("stands in the main file only")
        try:
            names = sorted((file for file in os.listdir(name) if file.endswith(".conf")), key=lambda file: (file.upper(), file))
        except OSError as e:
            why = "cannot read the folder %s: %s, so the access control of the listeners is unknown"
            raise Lost(why % (name, e.strerror)) from None
        at = self.draft.at
        for file in names:
            self._read(os.path.join(name, file), main=False)
        self.draft.at = at

    def _lose(self, error: Lost) -> None:
        self.draft.note(str(error), LOST_LINE)
        option = self.draft.at[2]
        meant = option not in BY_NAME and not option.startswith(PLUGIN) and is_like_a_guard(option, list(BY_NAME))
        if meant or option in OF_EVERYTHING or option in GUARDS_OF_ALL and not self.rights.per_listener:
            self._shut = option
        elif option in OF_DEFAULT:
            self.listeners.default().closed = option
        elif error.closed or option in GUARDS or option in GUARDS_OF_ALL:
            self.listeners.listener().closed = option

    # -- the whole --------------------------------------------------------------------------------

    def _finish(self) -> None:
        self.log.finish()
        self.persistence.finish()
        listeners = self.listeners
        if not listeners.places and listeners.local:
            local = Place({"host": LOCAL, "port": _PORT})
            local.anonymous = self.rights.allows_anonymous
            listeners.places = [local]
        places = []
        for place in listeners.places:
            try:
                listeners.finish(place, self.rights.of(place).psk_file)
            except Lost as e:
                place.closed = place.closed or str(e)
            place.closed = place.closed or self._shut or mistake(place)
            if place.closed:
                where = place.values.get("file") or "%s:%s" % (place.values.get("host", ""), place.values.get("port", ""))
                why = "listener %s is left out because of %s" % (where, place.closed)
                self.notes.append(Note(self.draft.at[0], 0, "listener", why, LOST_LINE))
            else:
                places.append(place)
        self.rights.finish(places)
        self.values["listener"] = [{**place.values, **({"tls": place.tls} if place.tls else {})} for place in places]
