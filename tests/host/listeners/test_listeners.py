"""WebSocket and TLS listeners of both runtimes, used by MQTT.js in Node, a browser, paho and mosquitto's clients."""

import base64
import http.server
import json
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from certificates import certificates  # noqa: F401
from configuration import write
from port.core.auth.password_file import make_record
from port.core.auth.passwords import SALT_SIZE
from server_process import free_port
from toolchain import NODE_MODULES

# Publishes to itself at each QoS; the last payload is larger than any frame a client sends in one piece.
EXCHANGE = """
function exchange(mqtt, url, size, done) {
  const client = mqtt.connect(url, {reconnectPeriod: 0, rejectUnauthorized: false, protocolVersion: 5})
  const got = []
  client.on('error', e => done('error: ' + e.message))
  client.on('close', () => done(got.length === 3 ? 'got ' + got.join(' ') : 'closed'))
  client.on('message', (topic, payload, packet) => {
    got.push(topic + ':' + packet.qos + ':' + payload.length)
    if (got.length === 3) client.end()
  })
  client.on('connect', () => client.subscribe('web/#', {qos: 2}, () => {
    for (const qos of [0, 1, 2]) client.publish('web/' + qos, 'x'.repeat(qos === 2 ? size : 20), {qos})
  }))
}
"""


@pytest.fixture
def listeners(start_broker, certificates, tmp_path):  # noqa: F811
    """Start a broker with a WebSocket and a TLS listener of each kind; returns it and their ports."""

    def start(runtime, origins=()):
        ports = {kind: free_port() for kind in ("ws", "wss", "tls", "http")}
        made = certificates()
        pem = runtime == "cpython"
        tls = {"certificate": made.server if pem else made.server_der, "key": made.key if pem else made.key_der}
        values = {
            "max_packet_size": 400000,
            "max_queued_bytes": 1000000,
            "outbox_bytes": 262144,
            "listener": [
                {"id": "ws", "type": "websocket", "port": ports["ws"], "origins": list(origins)},
                {"id": "wss", "type": "websocket", "port": ports["wss"], "tls": tls, "origins": list(origins)},
                {"id": "tls", "port": ports["tls"], "tls": tls},
                {"id": "http", "type": "http", "port": ports["http"]},
            ],
        }
        broker = start_broker(runtime, "--config", write(tmp_path / "broker.conf", runtime, values))
        deadline = time.monotonic() + 20
        while broker.output.count("listening on") < len(ports) + 1:  # the default one opens first
            assert time.monotonic() < deadline, broker.output
            time.sleep(0.02)
        return broker, ports

    return start


EXPECTED = "got web/0:0:20 web/1:1:20 web/2:2:%d"


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_mqtt_js_in_node(listeners, runtime, scheme, tool):
    _, ports = listeners(runtime)
    size = 300000 if runtime == "cpython" else 30000
    script = EXCHANGE + "exchange(require('mqtt'), '%s://127.0.0.1:%d/mqtt', %d, text => {console.log(text); process.exit()})" % (
        scheme, ports[scheme], size,
    )  # fmt: skip
    done = subprocess.run([tool("node"), "-e", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == EXPECTED % size, done.stdout + done.stderr


class Pages:
    """A web server with one page that runs the exchange in a browser and reports what came of it."""

    def __init__(self):
        self.results: list[str] = []
        self.reported = threading.Event()
        pages = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                if self.path == "/mqtt.js":
                    body, kind = (NODE_MODULES / "mqtt" / "dist" / "mqtt.min.js").read_bytes(), "text/javascript"
                else:
                    body, kind = pages.page.encode(), "text/html"
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self):
                pages.results.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
                self.send_response(204)
                self.end_headers()
                pages.reported.set()

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = "http://127.0.0.1:%d" % self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def run(self, chromium, url, size):
        """What the page reports."""
        self.page = "<script src=/mqtt.js></script><script>%s;let once = false; exchange(mqtt, '%s', %d, text => {if (!once) {once = true; fetch('/', {method: 'POST', body: text})}})</script>" % (
            EXCHANGE, url, size,
        )  # fmt: skip
        self.reported.clear()
        with tempfile.TemporaryDirectory() as profile:
            browser = subprocess.Popen(
                [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                 "--disable-background-networking", "--disable-component-update", "--disable-sync",
                 "--disable-dev-shm-usage", "--ignore-certificate-errors", "--user-data-dir=" + profile, self.origin],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            try:
                assert self.reported.wait(60), "the page reported nothing"
            finally:
                browser.terminate()
                browser.wait(20)
                time.sleep(0.2)  # its helpers write to the profile a little longer
        return self.results[-1]


@pytest.fixture
def pages():
    found = Pages()
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_mqtt_js_in_a_browser(listeners, runtime, scheme, tool, pages):
    _, ports = listeners(runtime, [pages.origin])
    size = 300000 if runtime == "cpython" else 30000
    tool("node")  # its package MQTT.js is what the page has
    assert pages.run(tool("chromium"), "%s://127.0.0.1:%d/mqtt" % (scheme, ports[scheme]), size) == EXPECTED % size


def test_a_page_from_elsewhere_does_not_get_in(listeners, runtime, tool, pages):
    _, ports = listeners(runtime, ["https://example.org"])
    tool("node")
    assert not pages.run(tool("chromium"), "ws://127.0.0.1:%d/mqtt" % ports["ws"], 10).startswith("got")


UPGRADE = (
    b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
)


def frame(opcode, payload):
    """A client's frame, short, with a mask of zeros."""
    return bytes((0x80 | opcode, 0x80 | len(payload), 0, 0, 0, 0)) + payload


def test_nothing_follows_a_close_frame(listeners, runtime):
    """Though the packets that came before it in the same read have answers."""
    _, ports = listeners(runtime)
    with socket.create_connection(("127.0.0.1", ports["ws"]), 30) as sock:
        sock.sendall(UPGRADE)
        received = b""
        while not received.endswith(b"\r\n\r\n"):
            received += sock.recv(1)
        connect = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01c"
        sock.sendall(frame(2, connect + b"\xc0\0" * 20) + frame(8, b"\x03\xe8"))
        received = b""
        while True:
            more = sock.recv(1000)
            if not more:
                break
            received += more
    assert received.endswith(b"\x88\x02\x03\xe8") and received.count(b"\x88") == 1


def test_one_packet_a_frame(listeners, runtime):
    """Paho's C client leaves the second packet of a frame unread, though [MQTT-6.0.0-2] allows it."""
    _, ports = listeners(runtime)
    large = b"\x30\xb4\x1f\0\1a" + b"x" * 4017
    with socket.create_connection(("127.0.0.1", ports["ws"]), 30) as sock, sock.makefile("rb") as file:
        sock.sendall(UPGRADE)
        while file.readline() != b"\r\n":
            pass
        packets = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01c" + b"\x82\x06\0\1\0\1a\1" + b"\x32\6\0\1a\0\1x" * 8
        sock.sendall(frame(2, packets) + b"\x82\xfe\x0f\xb7\0\0\0\0" + large + frame(2, b"\xc0\0"))
        found: list[bytes] = []
        while b"\xd0\0" not in found or len(found) < 20:
            head = file.read(2)
            size = int.from_bytes(file.read(2), "big") if head[1] == 126 else head[1]
            found.append(file.read(size))
    assert found.count(large) == 1 and found.count(b"\xd0\0") == 1
    assert sorted(data for data in found if data != large) == sorted(
        [b"\x20\2\0\0", b"\x90\3\0\1\1", b"\xd0\0"]
        + [b"\x40\2\0\1"] * 8
        + [b"\x32\6\0\1a\0" + bytes((number, ord("x"))) for number in range(1, 9)]
    )


@pytest.mark.parametrize("transport", ["ws", "wss", "tls"])
def test_paho(listeners, runtime, transport, certificates):  # noqa: F811
    _, ports = listeners(runtime)
    got = []
    client: Any = paho.Client(CallbackAPIVersion.VERSION2, transport="tcp" if transport == "tls" else "websockets")
    if transport != "ws":
        client.tls_set(certificates().ca)
    client.on_connect = lambda client, *_: client.subscribe("p/#", 2)
    client.on_subscribe = lambda client, *_: [client.publish("p/%d" % qos, b"x" * 20000, qos) for qos in (0, 1, 2)]
    client.on_message = lambda client, _, message: got.append((message.topic, message.qos, len(message.payload)))
    client.connect("127.0.0.1", ports[transport])
    deadline = time.monotonic() + 30
    while len(got) < 3 and time.monotonic() < deadline:
        client.loop(0.1)
    client.disconnect()
    assert sorted(got) == [("p/0", 0, 20000), ("p/1", 1, 20000), ("p/2", 2, 20000)]


def test_mosquitto_pub_over_tls(listeners, runtime, certificates, tool):  # noqa: F811
    _, ports = listeners(runtime)
    command = [tool("mosquitto_pub"), "-h", "127.0.0.1", "-p", str(ports["tls"]), "-t", "t", "-m", "x", "-q", "1"]
    done = subprocess.run([*command, "--cafile", certificates().ca], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


def test_the_info_pages(listeners, runtime):
    _, ports = listeners(runtime)
    root = "http://127.0.0.1:%d" % ports["http"]
    with urllib.request.urlopen(root + "/healthz", timeout=10) as answer:
        assert answer.read() == b"ok\n"
    with urllib.request.urlopen(root + "/", timeout=10) as answer:
        assert json.load(answer)["clients_connected"] == 0
    with urllib.request.urlopen(root + "/metrics", timeout=10) as answer:
        text = answer.read().decode()
    assert "# TYPE ucomqtt_connections_refused_total counter" in text
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(root + "/nothing", timeout=10)


def test_the_info_pages_for_users(start_broker, runtime, tmp_path):  # noqa: F811
    port = free_port()
    values = {
        "anonymous": "all",
        "auth": [{"type": "users", "users": {"ann": make_record(b"apple", b"s" * SALT_SIZE, 1000)}}],
        "listener": [{"type": "http", "port": port, "anonymous": "none"}],
    }
    broker = start_broker(runtime, "--config", write(tmp_path / "broker.conf", runtime, values))
    deadline = time.monotonic() + 20
    while broker.output.count("listening on") < 2:
        assert time.monotonic() < deadline, broker.output
        time.sleep(0.02)

    def status(path, password=None):
        request = urllib.request.Request("http://127.0.0.1:%d%s" % (port, path))
        if password is not None:
            request.add_header("Authorization", "Basic " + base64.b64encode(b"ann:" + password).decode())
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    for _ in range(2):
        assert status("/metrics", b"apple") == status("/", b"apple") == status("/healthz") == 200
        assert status("/metrics") == status("/metrics", b"pear") == 401
