"""The program's log on standard error, which never keeps the broker waiting: a pipe that nobody reads is full soon.

Lines go into a queue, and a thread writes them. What does not fit is dropped and counted, and the next line that does fit
says so. At the end what is queued is written, for a time.

A line is text, `TIME LEVEL MESSAGE`, or a JSON object with `time` (ISO 8601, UTC), `level`, `message`, `exception` where there is a
traceback, and of a line about a client what is known of it: `client_id`, `user`, `address`, `listener`, `reason_code`.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import queue
import re
import threading
import time
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from port.core.limits.client_log import shown
from port.core.sessions.session import Session
from port.core.protocol.connection import Connection

QUEUED = 10_000  # lines
PATIENCE = 2.0  # s for what is queued at the end
_PAUSE = 0.05  # s
_STDERR = 2
_FORMAT = "%(asctime)s %(levelname)s %(message)s"
_FIELDS = "fields"  # attribute of a record
# What an argument of a line is, by what stands around it in the broker's texts.
_NAMES = ((re.compile(r"\(0x$"), "reason_code"), (re.compile(r"\blistener $"), "listener"), (re.compile(r"^- $"), "address"))
_MARK = re.compile(r"%(?:0\d+)?[sdrx]")


def fields(text: str, args: Any) -> dict[str, Any]:
    """What the arguments of a %-format tell of a client."""
    found: dict[str, Any] = {}
    if not isinstance(args, tuple):
        return found
    for mark, value in zip(_MARK.finditer(text), args, strict=False):
        if isinstance(value, (Connection, Session)):
            session = value.session if isinstance(value, Connection) else value
            identity = value.identity if isinstance(value, Connection) else None
            user = identity.said_user if identity is not None else None if session is None else session.user
            found.update(client_id=shown(value.client_id) if value.client_id else "", address=value.address, listener=value.listener.id)
            if user:
                found["user"] = shown(user)
            continue
        for before, name in _NAMES:
            if before.search(text[:mark.start()]):
                found[name] = value
    return found


class _JSON(logging.Formatter):
    """One object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(), "message": record.getMessage(), **getattr(record, _FIELDS, {}),
        }  # fmt: skip
        if record.exc_text:
            line["exception"] = record.exc_text
        return json.dumps(line)


class _Queue(logging.handlers.QueueHandler):
    """Puts records into the queue, or counts those that do not fit."""

    def __init__(self, lines: queue.Queue[Any], form: str) -> None:
        super().__init__(lines)
        self.form = form
        self.dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """What its arguments are is told while they are there; the text is made here, too, as they may change."""
        if self.form == "text":
            prepared: logging.LogRecord = super().prepare(record)
            return prepared
        copy = logging.makeLogRecord(record.__dict__)
        setattr(copy, _FIELDS, fields(str(record.msg), record.args))
        copy.msg, copy.args = record.getMessage(), None
        if record.exc_info:
            copy.exc_text = logging.Formatter().formatException(record.exc_info)
            copy.exc_info = None
        return copy

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            if self.dropped:
                text = "%d lines of the log were dropped, they were not read in time"
                lost = logging.LogRecord(record.name, logging.WARNING, "", 0, text, (self.dropped,), None)
                self.queue.put_nowait(lost)
                self.dropped = 0
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1


class _Listener(logging.handlers.QueueListener):
    """Writes straight to a file descriptor: when the process ends while nobody reads, no lock of a stream or handler is held."""

    def __init__(self, lines: queue.Queue[Any], descriptor: int) -> None:
        super().__init__(lines)
        self._lines = lines
        self._descriptor = descriptor
        self.formatter: logging.Formatter = logging.Formatter(_FORMAT)

    def handle(self, record: logging.LogRecord) -> None:
        """Write a line, however long that takes."""
        data = memoryview((self.formatter.format(record) + "\n").encode(errors="backslashreplace"))
        while data:
            try:
                data = data[os.write(self._descriptor, data):]
            except BlockingIOError:  # somebody has made it so that it does not wait
                time.sleep(_PAUSE)
            except OSError:
                return  # there is nobody any more

    def enqueue_sentinel(self) -> None:
        """Wait for a place at the end of the queue."""
        self._lines.put(None)


class BackgroundLog:
    """The root logger's handler while it is entered.

    queued      lines that wait to be written at most; further ones are dropped and counted
    patience    s that the end waits for what is queued
    descriptor  file they are written to
    form        text or json
    """

    def __init__(self, queued: int = QUEUED, patience: float = PATIENCE, descriptor: int = _STDERR, form: str = "text") -> None:
        self._patience = patience
        lines: queue.Queue[Any] = queue.Queue(queued)
        self._handler = _Queue(lines, form)
        self._listener = _Listener(lines, descriptor)
        self.write_as(form)

    def write_as(self, form: str) -> None:
        """Lines are text or json from now on."""
        self._handler.form = form
        self._listener.formatter = _JSON() if form == "json" else logging.Formatter(_FORMAT)

    def say(self, text: str, level: int = logging.INFO) -> None:
        """What the program has to say, whatever the level of the log."""
        self._handler.enqueue(logging.LogRecord("ucomqtt", level, "", 0, text, None, None))

    def __enter__(self) -> BackgroundLog:
        self._listener.start()
        logging.getLogger().addHandler(self._handler)
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        logging.getLogger().removeHandler(self._handler)
        end = threading.Thread(target=self._listener.stop, daemon=True)
        end.start()
        end.join(self._patience)
