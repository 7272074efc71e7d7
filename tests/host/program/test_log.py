"""The program's log where nobody reads it, or not fast enough."""

import fcntl
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading

import pytest

from port.core.wire.codec import CONNECT
from port.core.auth.password_file import make_record
from port.core.protocol.client_packets import encode
from port.cpython.monitor.log_writer import BackgroundLog
from server_process import environment, free_port
from toolchain import ROOT

PATIENCE = 60
REFUSED = 5_000  # CONNECTs: some ten times what a pipe holds of their lines


@pytest.fixture
def pipe():
    """Both ends of a pipe."""
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            pass


@pytest.fixture
def lines():
    """A logger whose records reach the root's handlers; its name is at the end of no other line."""
    logger = logging.getLogger("tests.log")
    logger.setLevel(logging.INFO)
    return logger


def read_all(end):
    with open(end, "rb", closefd=False) as file:
        return file.read().decode()


def test_lines_are_written_in_their_order(pipe, lines):
    with BackgroundLog(descriptor=pipe[1]) as log:
        for i in range(100):
            lines.info("line %d \u00fc \ud800", i)
        log.say("listening")
        try:
            raise KeyError("why")
        except KeyError as e:
            lines.error("failed", exc_info=e)
    os.close(pipe[1])
    text = read_all(pipe[0])
    assert [int(found) for found in re.findall(r"^[-\d]+ [:,\d]+ INFO line (\d+) \u00fc \\ud800$", text, re.MULTILINE)] == list(range(100))
    assert re.search(r"^[-\d]+ [:,\d]+ INFO listening$", text, re.MULTILINE) and "ERROR failed\nTraceback" in text and text.endswith("KeyError: 'why'\n")


def test_nobody_waits_for_a_pipe_that_is_not_read(pipe, lines):
    with BackgroundLog(queued=100, patience=0.1, descriptor=pipe[1]) as log:
        for i in range(20_000):
            lines.info("line %d %s", i, "x" * 100)
        log.say("still here")
        dropped = log._handler.dropped
        assert dropped > 0
        reader = threading.Thread(target=lambda: texts.append(read_all(pipe[0])))
        texts: "list[str]" = []
        reader.start()
        while log._handler.queue.qsize() > 50:  # type: ignore[attr-defined]
            pass
        lines.info("the next")
        log._patience = PATIENCE
    os.close(pipe[1])
    reader.join(PATIENCE)
    text = texts[0]
    count = len(re.findall(r"INFO line \d+ x{100}$", text, re.MULTILINE))
    told = [int(found) for found in re.findall(r"WARNING (\d+) lines of the log were dropped", text)]
    # What was said counts, too, if it did not fit.
    assert count + sum(told) == 20_000 + ("still here" not in text) and text.rstrip().endswith("the next")


def test_a_pipe_that_does_not_wait_or_is_closed(pipe, lines):
    fcntl.fcntl(pipe[1], fcntl.F_SETFL, os.O_NONBLOCK)
    texts: "list[str]" = []
    with BackgroundLog(patience=PATIENCE, descriptor=pipe[1]):
        for i in range(5000):
            lines.info("line %d %s", i, "x" * 100)
        reader = threading.Thread(target=lambda: texts.append(read_all(pipe[0])))
        reader.start()
    os.close(pipe[1])
    reader.join(PATIENCE)
    assert len(re.findall(r"line \d+ x{100}$", texts[0], re.MULTILINE)) == 5000
    inner, outer = os.pipe()
    os.close(inner)
    with BackgroundLog(patience=PATIENCE, descriptor=outer):
        for i in range(100):
            lines.info("for nobody")
    os.close(outer)


def start(*arguments):
    """(broker whose standard error is a pipe, its port), once it listens."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "port.cpython", "--port", str(port), *arguments], cwd=ROOT, env=environment(),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, bufsize=0,
    )  # fmt: skip
    while b"listening" not in process.stderr.readline():
        assert process.poll() is None
    return process, port


def connect(port, client_id, user=None):
    """The code of the CONNACK of MQTT 3.1.1."""
    fields = {"clean_start": True, "keep_alive": 60, "user": user, "password": None if user is None else b"right", "will": None}
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        client.sendall(encode({"type": CONNECT, "client_id": client_id.encode(), **fields}, 4))
        data = b""
        while len(data) < 4:
            more = client.recv(100)
            assert more
            data += more
        return data[3]


@pytest.mark.parametrize("limit", ("0", "60"))
def test_a_broker_whose_log_is_not_read_goes_on(limit, tmp_path):
    config = tmp_path / "broker.toml"
    config.write_text('anonymous = "none"\nmax_log_lines = %s\n[[auth]]\ntype = "users"\nusers = { ann = "%s" }\n' % (limit, make_record(b"right", bytes(16), 1)))
    process, port = start("--config", str(config), "-v")
    try:
        for i in range(REFUSED // 100 if limit == "60" else REFUSED):
            assert connect(port, "x%d" % i + "y" * (60_000 if i % 100 == 0 else 100)) in (2, 5)
        assert connect(port, "honest", user=b"ann") == 0
        process.send_signal(signal.SIGHUP)
        assert connect(port, "honest", user=b"ann") == 0
        process.send_signal(signal.SIGTERM)
        if limit == "0":  # what is queued is more than the pipe holds, and nobody reads it
            assert process.wait(PATIENCE) == 0
        text = process.stderr.read().decode()
        assert process.wait(PATIENCE) == 0 and "Fatal" not in text and "Traceback" not in text
        assert max(len(line) for line in text.splitlines()) < 400
        if limit == "60":
            assert 0 < text.count("(0x87)") + text.count("max_client_id_length") <= 60 + 60 and "INFO stopped\n" in text
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
