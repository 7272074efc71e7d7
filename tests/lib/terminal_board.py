"""A board on a serial line, for mpremote and ampy: MicroPython's unix port behind a pseudo terminal.

Its files lie in a folder of the PC. `machine.reset()` and Ctrl-D start it anew, and it runs main.py unless Ctrl-D came
in the raw REPL, as on a board. Ctrl-C interrupts what runs.
"""

import os
import pty
import select
import signal
import termios
import threading
import tty

from toolchain import ROOT, find

STUBS = ROOT / "tests" / "lib" / "board_stubs"  # modules that boards have and the unix port lacks
_RESET = 66  # exit status of machine.reset() there


class TerminalBoard:
    """A running board with `folder` as its file system; `console` is its serial line, `output` all that came over it."""

    def __init__(self, folder, micropython=None):
        self.folder = folder
        self.port = 0  # for tests to say where its broker is
        self.output = ""
        self._program = str(micropython or find("micropython"))
        self._line, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.console = os.ttyname(self._slave)
        self._wake, self._stop = os.pipe()
        self._raw = self._resume = False  # in the raw REPL, and to go back there
        self._start(boots=True)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _start(self, boots):
        script = ["-i", "main.py"] if boots and (self.folder / "main.py").exists() else ["-i"]
        self._child, self._tty = pty.fork()
        if not self._child:
            # As MicroPython wants it while it runs a program: bytes as they are, but Ctrl-C interrupts.
            tty.setraw(0)
            mode = termios.tcgetattr(0)
            mode[3] |= termios.ISIG
            mode[6][termios.VINTR], mode[6][termios.VQUIT], mode[6][termios.VSUSP] = b"\x03", b"\0", b"\0"
            termios.tcsetattr(0, termios.TCSANOW, mode)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # until it has a handler for it
            os.chdir(self.folder)
            os.environ["MICROPYPATH"] = "%s::.frozen:%s" % (STUBS, self.folder / "lib")
            os.execv(self._program, [self._program, "-X", "heapsize=1m", *script])

    def _run(self):
        while True:
            # Until it is back in the raw REPL it is not to be disturbed.
            lines = [self._tty, self._wake] if self._resume else [self._line, self._tty, self._wake]
            ready = select.select(lines, [], [])[0]
            if self._wake in ready:
                return
            if self._line in ready:
                data = os.read(self._line, 4096)
                os.write(self._tty, data)
            if self._tty in ready:
                try:
                    data = os.read(self._tty, 4096)
                except OSError:
                    data = b""
                if not data:
                    self._restart()
                    continue
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
        if not select.select([], [self._line], [], 2)[1]:
            termios.tcflush(self._slave, termios.TCIFLUSH)
        os.write(self._line, data)

    def _restart(self):
        os.close(self._tty)
        status = os.waitstatus_to_exitcode(os.waitpid(self._child, 0)[1])
        self._print(b"MPY: soft reboot\r\n")
        raw = self._raw and status != _RESET
        self._raw = False
        self._resume = raw
        self._start(boots=not raw)

    def type(self, text):
        """Type on its console, as a terminal program would."""
        os.write(self._slave, text.encode())

    def close(self):
        """Switch it off."""
        os.write(self._stop, b"x")
        self._thread.join()
        os.kill(self._child, signal.SIGKILL)
        os.waitpid(self._child, 0)
        for fd in (self._line, self._slave, self._tty, self._wake, self._stop):
            os.close(fd)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()
