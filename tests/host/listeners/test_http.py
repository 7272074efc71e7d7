"""HTTP on both runtimes over real sockets: curl, http.client, slow clients, and those who mean no good."""

import gzip
import http.client
import json
import socket
import ssl
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from certificates import certificates  # noqa: F401
from configuration import write
from drivers import TIMEOUT
from drivers.paho import Paho
from server_process import RUNTIMES, free_port

SCRIPT = Path(__file__).parents[2] / "support" / "programs" / "http_broker.py"
TEXT = b"".join(b"line %d\n" % i for i in range(4000))
PIECE = b"0123456789abcdef" * 32


@pytest.fixture(scope="module", params=RUNTIMES)
def broker(request, server_process, tmp_path_factory):
    """A broker with pages of its own; `pages` is their port."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "file.gz").write_bytes(gzip.compress(TEXT))
    pages = free_port()
    with server_process(request.param, str(pages), str(folder), script=SCRIPT) as server:
        server.pages = pages
        wait_for(pages)
        yield server
        assert not server.trouble()


def wait_for(port):
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.fixture
def connection(broker):
    found = http.client.HTTPConnection("127.0.0.1", broker.pages, timeout=TIMEOUT)
    yield found
    found.close()


def ask(connection, method, path, body=None, headers=None, chunked=False):
    connection.request(method, path, body, headers or {}, encode_chunked=chunked)
    answer = connection.getresponse()
    return answer.status, answer, answer.read()


def raw(broker, data, slowly=0.0, timeout=TIMEOUT):
    """Everything that is answered to these bytes until the connection ends."""
    with socket.create_connection(("127.0.0.1", broker.pages), timeout) as sock:
        try:
            if slowly:
                for i in range(len(data)):
                    sock.sendall(data[i : i + 1])
                    time.sleep(slowly)
            else:
                sock.sendall(data)
        except OSError:
            pass
        found = b""
        while True:
            try:
                more = sock.recv(65536)
            except ConnectionResetError:
                more = b""
            if not more:
                return found
            found += more


def status_of(answer):
    return int(answer.split(b" ", 2)[1]) if answer else None


def test_one_connection_for_many_requests(connection):
    ask(connection, "GET", "/healthz")
    sock = connection.sock
    for method in ("GET", "PUT", "POST", "DELETE", "PATCH"):
        body = None if method == "GET" else b"hello"
        assert ask(connection, method, "/echo", body)[2] == f"{method} {5 if body else 0} {'hello' if body else ''}".encode()
    assert ask(connection, "HEAD", "/echo")[2] == b""
    assert ask(connection, "GET", "/metrics")[0] == 200 and ask(connection, "GET", "/none")[0] == 404
    for chunks in ([b"a", b"bc", b"d" * 3000], []):
        body = b"".join(chunks)
        headers = {"Transfer-Encoding": "chunked"}
        status, _, found = ask(connection, "POST", "/echo", iter(chunks), headers, chunked=True)
        assert (status, found) == (200, b"POST %d %s" % (len(body), body[:20]))
    assert connection.sock is sock


def test_curl(broker, tool, tmp_path):
    def curl(*arguments):
        command = [tool("curl"), "-sS", "--max-time", str(TIMEOUT), *arguments]
        done = subprocess.run(command, capture_output=True, timeout=2 * TIMEOUT)
        assert done.returncode == 0, done.stderr
        return done.stdout

    url = "http://127.0.0.1:%d" % broker.pages
    body = tmp_path / "body"
    body.write_bytes(b"x" * 15000)
    answers = curl("-w", "%{num_connects} ", url + "/healthz", url + "/healthz", url + "/healthz")
    assert answers.split() == [b"ok", b"1", b"ok", b"0", b"ok", b"0"]
    assert curl("-T", str(body), url + "/echo") == b"PUT 15000 " + b"x" * 20
    for header in ("Expect: 100-continue", "Transfer-Encoding: chunked"):
        assert curl("-T", str(body), "-H", header, url + "/echo") == b"PUT 15000 " + b"x" * 20
    body.write_bytes(b"x" * 1000000)
    for header in ("Expect: 100-continue", "Transfer-Encoding: chunked", "Expect:"):
        assert curl("-T", str(body), "-H", header, "-o", "/dev/null", "-w", "%{http_code}", url + "/echo") == b"413"
    assert curl("--compressed", url + "/file") == TEXT
    assert curl("-o", "/dev/null", "-w", "%{http_code}", "-H", "Accept-Encoding: identity", url + "/file") == b"406"
    etag = ("-o", "/dev/null", "-w", "%{http_code}", "-H", 'If-None-Match: "v1"')
    assert curl(*etag, url + "/file") == b"304"
    assert curl("-d", "a=b", "-o", "/dev/null", "-w", "%{http_code}", url + "/echo") == b"415"
    assert curl("--http1.0", url + "/stream/100") == PIECE * 100
    assert curl(url + "/stream/100") == PIECE * 100


def test_a_slow_client_has_nothing_made_ahead_and_others_are_served(broker, connection):
    count = 20000  # 10 MB
    before = int(ask(connection, "GET", "/made")[2])
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(TIMEOUT)
        sock.connect(("127.0.0.1", broker.pages))
        sock.sendall(b"GET /stream/%d HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % count)
        client = Paho(broker.port, "beside", 5)
        client.subscribe("t", 1)
        for i in range(20):
            client.publish("t", b"%d" % i, 1)
            assert client.receive().payload == b"%d" % i
        client.disconnect()
        ahead = int(ask(connection, "GET", "/made")[2]) - before
        assert 0 < ahead < count  # what the sockets hold
        found = b""
        while more := sock.recv(65536):
            found += more
    assert int(ask(connection, "GET", "/made")[2]) - before == count
    head, _, body = found.partition(b"\r\n\r\n")
    assert b"chunked" in head and body.count(PIECE) == count and body.endswith(b"\r\n0\r\n\r\n")


def test_pipelined_requests(broker):
    request = b"PUT /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n"
    last = b"GET /stream/3 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    for slowly in (0, 0.0005):
        answer = raw(broker, b"".join(request + b"%03d" % i for i in range(8)) + last, slowly)
        at = [answer.index(b"PUT 3 %03d" % i) for i in range(8)]
        assert at == sorted(at) and answer.count(b"HTTP/1.1 200 OK") == 9 and answer.count(PIECE) == 3


HEAD = b"POST /echo HTTP/1.1\r\nHost: localhost\r\n"
NEXT = b"GET /made HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(
    "data",
    [
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        HEAD + b"Content-Length: +5\r\n\r\nhello",
        HEAD + b"Content-Length: 5\nX: y\r\n\r\nhello",
        HEAD + b"X: y\r\n Content-Length: 5\r\n\r\nhello",
        HEAD + b"Content-Length: 0\r\n\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
        b"GET /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n",
        b"GET http://x/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /echo HTTP/1.1\r\nHost: localhost\r\nHost: x\r\n\r\n",
        b"GET /echo\r\n\r\n",
    ],
)
def test_what_two_readers_could_understand_differently(broker, data):
    answer = raw(broker, data + NEXT)
    assert status_of(answer) in (400, 413, 501) and answer.count(b"HTTP/1.1") == 1
    assert b"Connection: close" in answer


def test_what_is_too_large_or_too_slow(broker):
    started = time.monotonic()
    assert status_of(raw(broker, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 100000)) == 431
    assert status_of(raw(broker, HEAD + b"Content-Length: 20001\r\n\r\n" + b"y" * 20001)) == 413
    assert status_of(raw(broker, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1000\r\n" + b"y" * 4096 + b"\r\n" + b"ffffff\r\n")) == 413
    assert raw(broker, b"") == b""  # says nothing
    assert status_of(raw(broker, b"GET / HT")) == 408
    assert status_of(raw(broker, HEAD + b"Content-Length: 10\r\n\r\nhello")) == 408
    assert status_of(raw(broker, HEAD + b"Content-Length: 1000\r\n\r\n" + b"y" * 20, 0.2)) == 408  # a little now and then
    assert time.monotonic() - started < 2 * TIMEOUT


def test_events_come_one_by_one(broker):
    with urllib.request.urlopen("http://127.0.0.1:%d/events" % broker.pages, timeout=TIMEOUT) as answer:
        assert [answer.readline() for _ in range(5)] == [b"data: 0\n", b"\n", b"data: 1\n", b"\n", b"data: 2\n"]


def test_lists(broker, connection):
    clients = [Paho(broker.port, "client%d" % i, 5) for i in range(5)]
    found = []
    cursor = ""
    while cursor is not None:
        page = json.loads(ask(connection, "GET", "/clients?limit=2&cursor=" + cursor)[2])
        found += [item["client_id"] for item in page["items"] if item["connected"]]
        cursor = page["cursor"]
    assert sorted(found) == ["client%d" % i for i in range(5)]
    for client in clients:
        client.disconnect()


def test_many_at_once(broker):
    """Each is answered, whoever goes in between."""
    count = 30 if broker.runtime == "cpython" else 8
    socks = [socket.create_connection(("127.0.0.1", broker.pages), TIMEOUT) for _ in range(count)]
    for i, sock in enumerate(socks):
        sock.sendall(b"GET /stream/50 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        if i % 3 == 0:
            sock.close()
    for i, sock in enumerate(socks):
        if i % 3:
            found = b""
            while more := sock.recv(65536):
                found += more
            sock.close()
            assert found.count(PIECE) == 50


@pytest.mark.parametrize("secure", [False, True])
def test_mqtt_over_websocket_on_the_same_port(start_broker, runtime, certificates, tmp_path, secure):  # noqa: F811
    made = certificates()
    pem = runtime == "cpython"
    port = free_port()
    listener: "dict[str, Any]" = {"type": "http", "port": port}
    if secure:
        listener["tls"] = {"certificate": made.server if pem else made.server_der, "key": made.key if pem else made.key_der}
    start_broker(runtime, "--config", write(tmp_path / "broker.conf", runtime, {"listener": [listener]}))
    wait_for(port)
    pages = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    if secure:
        context = ssl.create_default_context(cafile=made.ca)
        context.check_hostname = False
        pages = http.client.HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT, context=context)
    client = websocket_client(port, made.ca if secure else None)
    for i in range(3):
        assert ask(pages, "GET", "/healthz")[2] == b"ok\n"
        client.publish("t", b"x" * 3000 * i)
        assert client.got(3000 * i)
    answer = json.loads(ask(pages, "GET", "/")[2])
    assert answer["clients_connected"] == 1
    client.stop()
    pages.close()


def websocket_client(port, ca):
    """Paho over WebSocket, subscribed to t."""
    import threading

    import paho.mqtt.client as paho
    from paho.mqtt.enums import CallbackAPIVersion

    client = paho.Client(CallbackAPIVersion.VERSION2, transport="websockets")
    ready = threading.Event()
    sizes = []
    arrived = threading.Condition()

    def on_message(_client, _data, message):
        with arrived:
            sizes.append(len(message.payload))
            arrived.notify()

    def got(size):
        with arrived:
            return arrived.wait_for(lambda: size in sizes, TIMEOUT)

    if ca:
        client.tls_set(ca)
        client.tls_insecure_set(True)
    client.on_connect = lambda *_: client.subscribe("t", 1)  # type: ignore[assignment]
    client.on_subscribe = lambda *_: ready.set()
    client.on_message = on_message
    client.connect("127.0.0.1", port)
    client.loop_start()
    assert ready.wait(TIMEOUT)
    client.got = got  # type: ignore[attr-defined]

    def stop():
        client.disconnect()
        client.loop_stop()

    client.stop = stop  # type: ignore[attr-defined]
    return client


def test_a_browser_takes_no_connection_mqtt_could_have(server_process, tool, tmp_path):
    """A board with five sockets: pages have two, and give up those on which nothing is asked."""
    pages = free_port()
    with server_process("micropython", str(pages), str(tmp_path), "5", script=SCRIPT) as server:
        wait_for(pages)
        held = []
        for _ in range(2):
            held.append(http.client.HTTPConnection("127.0.0.1", pages, timeout=TIMEOUT))
            assert ask(held[-1], "GET", "/healthz")[0] == 200
        clients = [Paho(server.port, "client%d" % i, 5) for i in range(4)]
        for client in clients:
            client.subscribe("t", 0)
        clients[0].publish("t", b"x", 0)
        assert [client.receive().payload for client in clients] == [b"x"] * 4
        for connection in held:  # closed, and opened again where there is room
            with pytest.raises((OSError, http.client.HTTPException)):
                ask(connection, "GET", "/healthz")
            connection.close()
        with pytest.raises((OSError, http.client.HTTPException)):
            urllib.request.urlopen("http://127.0.0.1:%d/healthz" % pages, timeout=TIMEOUT)
        clients.pop().disconnect()
        time.sleep(0.2)
        with urllib.request.urlopen("http://127.0.0.1:%d/healthz" % pages, timeout=TIMEOUT) as answer:
            assert answer.read() == b"ok\n"
        for client in clients:
            client.disconnect()
        assert not server.trouble()
