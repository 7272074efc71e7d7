"""The log in a mosquitto.conf: one level, and all above it."""

from __future__ import annotations

from port.cpython.config.mosquitto.line import LOST_LINE, NEEDLESS, Draft, Lost, Note, boolean

_LEVELS = {
    "none": "error", "error": "error", "warning": "warning", "notice": "info", "information": "info", "debug": "debug",
    "all": "debug", "subscribe": "debug", "unsubscribe": "debug", "websockets": "debug", "internal": "debug",
}  # fmt: skip
_ORDER = ("error", "warning", "info", "debug")


class Log:
    """The lines about the log."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._level = -1
        self._quiet: tuple[str, int] | None = None

    def log_type(self, value: str) -> None:
        """log_type: one level, and all above it"""
        value = value.split(" ")[0]
        if value not in _LEVELS:
            raise Lost("there is no log type %s" % value)
        self._level = max(self._level, _ORDER.index(_LEVELS[value]))

    def log_dest(self, value: str) -> None:
        """log_dest"""
        lost = value.split(" ")[0] in ("topic", "none")
        self._draft.note("the log goes to standard error, which the journal or the container keeps", LOST_LINE if lost else NEEDLESS)

    def connection_messages(self, value: str) -> None:
        """connection_messages"""
        if boolean(value):
            self._level = max(self._level, _ORDER.index("info"))
        else:
            self._quiet = self._draft.at[0], self._draft.at[1]

    def finish(self) -> None:
        """The log level."""
        if self._quiet is not None and self._level >= _ORDER.index("info"):
            text = "the level info has connects and disconnects of clients, with its other lines"
            self._draft.notes.append(Note(*self._quiet, "connection_messages", text, LOST_LINE))
        elif self._quiet is not None and self._level < 0:
            self._level = _ORDER.index("warning")
        if self._level >= 0:
            self._draft.values["log_level"] = _ORDER[self._level]
