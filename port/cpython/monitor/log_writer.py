"""The program's log on standard error, which never blocks the broker, even when standard error is a pipe that nobody reads.

A thread writes lines from a queue. Lines that find the queue full are dropped, and the next line reports their number. At the end
the queue is written for PATIENCE seconds at most.

A line is text, `TIME LEVEL MESSAGE`, or a JSON object with `time` (ISO 8601, UTC), `level`, `message`, with `exception` after an
error, and for a line about a client with its known `client_id`, `user`, `address`, `listener` and `reason_code`.
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
PATIENCE = 2.0  # s for writing the queue at the end
_PAUSE = 0.05  # s
_STDERR = 2
_FORMAT = "%(asctime)s %(levelname)s %(message)s"
_FIELDS = "fields"  # attribute of a log record
# The field of an argument, by the words around it in the broker's texts.
_NAMES = ((re.compile(r"\(0x$"), "reason_code"), (re.compile(r"\blistener $"), "listener"), (re.compile(r"^- $"), "address"))
_MARK = re.compile(r"%(?:0\d+)?[sdrx]")


def fields(text: str, args: Any) -> dict[str, Any]:
    """The fields about a client among the arguments of a %-format."""
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
    """Formats a record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(), "message": record.getMessage(), **getattr(record, _FIELDS, {}),
        }  # fmt: skip
        if record.exc_text:
            line["exception"] = record.exc_text
        return json.dumps(line)


class _Queue(logging.handlers.QueueHandler):
    """Puts records into the queue, and counts those that do not fit."""

    def __init__(self, lines: queue.Queue[Any], form: str) -> None:
        super().__init__(lines)
        self.form = form
        self.dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Make fields and text of a record now, as its arguments may change later."""
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
    """Writes straight to a file descriptor, so that no lock of a stream is held when the process ends before a full pipe."""

    def __init__(self, lines: queue.Queue[Any], descriptor: int) -> None:
        super().__init__(lines)
        self._lines = lines
        self._descriptor = descriptor
        self.formatter: logging.Formatter = logging.Formatter(_FORMAT)

    def handle(self, record: logging.LogRecord) -> None:
        """Write a line; may block."""
        data = memoryview((self.formatter.format(record) + "\n").encode(errors="backslashreplace"))
        while data:
            try:
                data = data[os.write(self._descriptor, data):]
            except BlockingIOError:  # another process has made it non-blocking
                time.sleep(_PAUSE)
            except OSError:
                return  # the reader is gone

    def enqueue_sentinel(self) -> None:
        """Wait for a place at the end of the queue."""
        self._lines.put(None)


class BackgroundLog:
    """The root logger's handler while it is entered.

    queued      most lines that wait to be written; further ones are dropped and counted
    patience    s for writing the queue at the end
    descriptor  file descriptor of the log
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
        """Log a line of the program, whatever the level of the log."""
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
