"""A board on a serial line, for mpremote and ampy: MicroPython's unix port behind a pseudo terminal.

Its files lie in a folder of the PC. `machine.reset()` and Ctrl-D start it anew, and it runs main.py unless Ctrl-D came
in the raw REPL, as on a board. Ctrl-C interrupts what runs.
"""

import os
import pty
import select
import subprocess
import termios
import threading
import tty

from toolchain import ROOT, find

STUBS = ROOT / "tests" / "support" / "board_stubs"  # modules that boards have and the unix port lacks
_RESET = 66  # exit status of machine.reset() there


class TerminalBoard:
    """A running board with `folder` as its file system; `console` is its serial line, `output` all that came over it.

    sockets  None, or how many files and sockets it can have open, its console and asyncio's poll included
    """

    def __init__(self, folder, micropython=None, sockets=None):
        self.folder = folder
        self.port = 0  # for tests to say where its broker is
        self.output = ""
        self._program = str(micropython or find("micropython"))
        self._limit = f"ulimit -n {sockets}; " if sockets else ""
        self._line, self._slave = pty.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._line, False)
        self.console = os.ttyname(self._slave)
        self._wake, self._stop = os.pipe()
        self._raw = self._resume = False  # in the raw REPL, and to go back there
        self._start(boots=True)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _start(self, boots):
        script = ["-i", "main.py"] if boots and (self.folder / "main.py").exists() else ["-i"]
        self._tty, self._child_tty = pty.openpty()
        # As MicroPython wants it while it runs a program: bytes as they are, but Ctrl-C interrupts.
        tty.setraw(self._child_tty)
        mode = termios.tcgetattr(self._child_tty)
        mode[3] |= termios.ISIG
        mode[6][termios.VINTR], mode[6][termios.VQUIT], mode[6][termios.VSUSP] = b"\x03", b"\0", b"\0"
        termios.tcsetattr(self._child_tty, termios.TCSANOW, mode)
        # Opened by a process without one, it becomes the terminal that Ctrl-C is for. SIGINT is ignored until
        # MicroPython has a handler for it.
        self._child = subprocess.Popen(
            ["sh", "-c", self._limit + 'trap "" INT; tty=$1; shift; exec "$@" <"$tty" >"$tty" 2>&1', "sh",
             os.ttyname(self._child_tty), self._program, "-X", "heapsize=1m", *script],
            cwd=self.folder, start_new_session=True, stdin=subprocess.DEVNULL,
            env={**os.environ, "MICROPYPATH": "%s::.frozen:%s" % (STUBS, self.folder / "lib")})
        self._ended = os.pidfd_open(self._child.pid)

    def _run(self):
        while True:
            # Until it is back in the raw REPL it is not to be disturbed.
            lines = [self._tty, self._ended, self._wake]
            ready = select.select(lines if self._resume else [self._line, *lines], [], [])[0]
            if self._wake in ready:
                return
            if self._line in ready:
                os.write(self._tty, os.read(self._line, 1024))
            if self._tty in ready:
                self._came(os.read(self._tty, 4096))
            elif self._ended in ready:
                self._restart()

    def _came(self, data):
        self.output += data.decode(errors="replace")
        raw, friendly = data.rfind(b"raw REPL; CTRL-B"), data.rfind(b">>> ")
        if raw != friendly:
            self._raw = raw > friendly
        self._print(data)
        if self._resume and friendly >= 0:
            self._resume = False
            os.write(self._tty, b"\x01")

    def _print(self, data):
        """To whoever is at the other end; if nobody reads, it is lost."""
        while data:
            if not select.select([], [self._line], [], 2)[1]:
                termios.tcflush(self._slave, termios.TCIFLUSH)
            data = data[os.write(self._line, data):]

    def _restart(self):
        status = self._child.wait()
        self._forget()
        self._print(b"MPY: soft reboot\r\n")
        self._resume = self._raw and status != _RESET
        self._raw = False
        self._start(boots=not self._resume)

    def _forget(self):
        for fd in (self._tty, self._child_tty, self._ended):
            os.close(fd)

    def type(self, text):
        """Type on its console, as a terminal program would."""
        os.write(self._slave, text.encode())

    def close(self):
        """Switch it off."""
        os.write(self._stop, b"x")
        self._thread.join()
        self._child.kill()
        self._child.wait()
        self._forget()
        for fd in (self._line, self._slave, self._wake, self._stop):
            os.close(fd)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()
