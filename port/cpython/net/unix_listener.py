"""Listeners on Unix sockets: a file whose mode says who may connect."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator

from port.core.config.listener_config import ListenerConfig
from port.core.config.listener_types import Unix
from port.cpython.config import preflight
from port.cpython.net.listening_socket import BACKLOG, ListeningSocket

_NAME = 107  # bytes of a Unix socket's file, see unix(7)


class UnixListener(Unix, ListeningSocket):
    """See port.core.config.listener_types.Unix."""

    @classmethod
    def obstacles(cls, config: ListenerConfig) -> Iterator[str]:
        """See ListenerType.obstacles."""
        path: str = config.settings["file"]
        for text in _of_file(path):
            yield "file %s: %s" % (path, text)

    async def bind(self) -> None:
        """See ListeningSocket.bind."""
        path: str = self.config.settings["file"]
        if os.path.lexists(path):
            # Nor is a link to a socket replaced: somebody else may have put it there.
            if not stat.S_ISSOCK(os.lstat(path).st_mode):
                raise OSError(errno.EEXIST, "the file exists and is no socket")
            if _answers(path):
                raise OSError(errno.EADDRINUSE, "the socket is in use")
            os.unlink(path)
        sock = socket.socket(socket.AF_UNIX)
        umask = os.umask(0o777 & ~int(self.config.settings["mode"], 8))  # so the mode is right from the beginning
        try:
            sock.bind(path)
            sock.listen(BACKLOG)
        except OSError:
            sock.close()
            raise
        finally:
            os.umask(umask)
        self._sockets.append(sock)

    def close(self) -> None:
        """See ListenerType.close."""
        if self._sockets and os.path.exists(self.config.settings["file"]):
            os.unlink(self.config.settings["file"])
        super().close()


def _of_file(path: str) -> Iterator[str]:
    if len(os.fsencode(path)) > _NAME:
        yield "a Unix socket's file has a name of %d bytes at most" % _NAME
    elif os.path.lexists(path) and not stat.S_ISSOCK(os.lstat(path).st_mode):
        yield "the file exists and is no socket"
    else:
        yield from preflight.of_folder(path)


def _answers(path: str) -> bool:
    """True when somebody listens on the Unix socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(path)
        except OSError:
            return False
    return True
