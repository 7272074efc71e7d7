"""The broker inside a program of the user's own."""

import asyncio
import socket
import subprocess
import threading

import pytest

from drivers import TIMEOUT
from drivers.paho import Paho
from port.core.messages.batch import Batch, Received
from port.core.auth.authenticator import Authenticator
from port.core.config.listener_types import ListenerType
from port.core.storage.store import Store
from port.cpython import Message, Server, built_in
from port.cpython.monitor.load_averages import LoadAverages
from port.cpython.stores.sqlite import SQLiteStore
from server_process import environment, free_port
from toolchain import ROOT

MAIN = ROOT / "tests" / "support" / "programs" / "board_main.py"


async def connect(server, client_id="client", version=5, **options):
    """A client, which blocks, connected from a thread while the broker runs in this loop."""
    return await asyncio.to_thread(Paho, server.addresses[0][1], client_id, version, **options)


@pytest.fixture
def server():
    server = Server()
    server.listen("127.0.0.1", 0)
    return server


async def test_publish(server):
    async with server:
        assert not server.publish("a/b", "nobody subscribes")
        server.publish("a/b", "kept", qos=1, retain=True)
        client = await connect(server)
        await asyncio.to_thread(client.subscribe, "a/#", 2)
        assert (await asyncio.to_thread(client.receive)).retain
        assert server.publish("a/b", b"\xff", qos=2)
        message = await asyncio.to_thread(client.receive)
        assert (message.topic, message.payload, message.qos) == ("a/b", b"\xff", 2)
        await asyncio.to_thread(client.disconnect)


async def test_subscribe(server):
    messages: asyncio.Queue[Message] = asyncio.Queue()
    async with server:
        handle = server.subscribe("a/+", messages.put_nowait)
        client = await connect(server)
        for qos in (0, 1, 2):
            await asyncio.to_thread(client.publish, "a/b", b"%d" % qos, qos)
            message = await asyncio.wait_for(messages.get(), TIMEOUT)
            assert (message.topic, message.payload, message.qos) == ("a/b", b"%d" % qos, qos)
        server.unsubscribe(handle)
        await asyncio.to_thread(client.publish, "a/b", b"x", 1)
        assert messages.empty()
        await asyncio.to_thread(client.disconnect)


async def test_a_client_inside_whose_session_outlives_the_broker(tmp_path):
    kept = {"clean_start": False, "expiry": 3600, "acknowledge": False}
    for run in (1, 2):
        batches: asyncio.Queue[Batch] = asyncio.Queue()
        ends: asyncio.Queue[int] = asyncio.Queue()
        server = Server(store=SQLiteStore(tmp_path / "broker.db"))
        server.listen("127.0.0.1", 0)
        with pytest.raises(RuntimeError):
            server.open_client("inside", batches.put_nowait)
        async with server:
            inside = server.open_client("inside", batches.put_nowait, closed=ends.put_nowait, **kept)
            assert inside.session_present == (run == 2)
            if run == 1:
                inside.subscribe("a/#", 1)
                client = await connect(server, "outside")
                for payload in (b"1", b"2"):
                    await asyncio.to_thread(client.publish, "a/b", payload, 1)
            messages: list[tuple[bytes, Received]] = []
            while len(messages) < 3 - run:
                batch = await asyncio.wait_for(batches.get(), TIMEOUT)
                messages += [(batch.origin, message) for message in batch]
            assert [(origin, m.payload, m.duplicate) for origin, m in messages] == (
                [(b"outside", b"1", False), (b"outside", b"2", False)] if run == 1 else [(b"", b"2", True)]
            )
            inside.acknowledge(messages[0][1])
            done: asyncio.Queue[int] = asyncio.Queue()
            inside.publish("kept", b"%d" % run, 1, True, done=done.put_nowait)
            assert await asyncio.wait_for(done.get(), TIMEOUT) in (0, 0x10)
            if run == 1:
                await asyncio.to_thread(client.disconnect)
        assert await asyncio.wait_for(ends.get(), TIMEOUT) == 0x8B


async def test_hooks(server):
    seen: list[tuple[str, bytes] | tuple[str, bytes, int]] = []
    server.on("connect", lambda client: seen.append(("connect", client.client_id)))
    server.on("disconnect", lambda client, reason: seen.append(("disconnect", client.client_id, reason)))
    server.on("subscribe", lambda client, topic_filter, options: 0x87 if topic_filter == b"secret" else None)
    server.on("message", lambda client, message: False if message.payload == b"no" else None)
    server.on("message", lambda client, message: Message(b"b", message.payload) if message.topic == "a" else None)
    async with server:
        client = await connect(server, "hooked")
        assert await asyncio.to_thread(client.subscribe, "secret", 1) == 0x87
        await asyncio.to_thread(client.subscribe, "b", 1)
        await asyncio.to_thread(client.publish, "b", b"no", 1)
        await asyncio.to_thread(client.publish, "a", b"yes", 1)
        message = await asyncio.to_thread(client.receive)
        assert (message.topic, message.payload) == ("b", b"yes")
        await asyncio.to_thread(client.disconnect)
    assert seen == [("connect", b"hooked"), ("disconnect", b"hooked", 0)]


async def test_restart(server):
    """A stopped server starts again, with its sessions and retained messages."""
    async with server:
        first = await connect(server, "first", persistent=True)
        await asyncio.to_thread(first.subscribe, "a", 1)
        server.publish("kept", "x", retain=True)
    assert await asyncio.to_thread(first.closed) == 0x8B
    assert server.addresses == []
    server.publish("a", "while stopped", qos=1)
    async with server:
        again = await connect(server, "first", persistent=True)
        assert again.session_present
        assert (await asyncio.to_thread(again.receive)).payload == b"while stopped"
        await asyncio.to_thread(again.subscribe, "kept", 1)
        assert (await asyncio.to_thread(again.receive)).payload == b"x"
        await asyncio.to_thread(again.disconnect)
    first.disconnect()


async def test_serve_returns_when_stopped(server):
    serving = asyncio.create_task(server.serve())
    while not server.addresses:
        await asyncio.sleep(0.01)
    await server.stop()
    await asyncio.wait_for(serving, TIMEOUT)


class Late(Store):
    """Keeps nothing, and takes its time for that."""

    def commit(self, batch, done):
        asyncio.get_running_loop().call_later(0.01, done, None)


async def test_stop_has_an_end_while_messages_keep_coming():
    server = Server(store=Late())
    await server.start()

    async def publish():
        while True:
            server.publish("t", "x", retain=True)
            await asyncio.sleep(0)

    task = asyncio.create_task(publish())
    await asyncio.sleep(0.05)
    await asyncio.wait_for(server.stop(), TIMEOUT)
    task.cancel()


async def ticks(server, number):
    """Return when the broker has had so many ticks."""
    seen: asyncio.Queue[Message] = asyncio.Queue()
    handle = server.subscribe("$SYS/broker/uptime", seen.put_nowait)
    for _ in range(number):
        await asyncio.wait_for(seen.get(), TIMEOUT)
    server.unsubscribe(handle)


async def test_room_for_large_packets_where_max_memory_is_small():
    """Four of the largest packets have room in any case: neither the one who queues nor the guard takes them for too many."""
    server = Server(max_memory=4096, max_packet_size=65536, sys_interval=1)
    server.listen("127.0.0.1", 0)
    async with server:
        first = await connect(server, "away", persistent=True)
        await asyncio.to_thread(first.subscribe, "a", 1)
        await asyncio.to_thread(first.disconnect)
        server.publish("a", bytes(60000), qos=1)
        await ticks(server, 3)
        again = await connect(server, "away", persistent=True)
        assert len((await asyncio.to_thread(again.receive)).payload) == 60000
        await asyncio.to_thread(again.disconnect)


async def test_a_step_of_the_tick_that_fails_keeps_no_other_from_being_taken(monkeypatch):
    def cannot(self):
        raise RuntimeError("cannot count")

    logged: list[str] = []
    server = Server(log=lambda level, text, *args: logged.append(text % args))
    server.listen("127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.addresses[0])
        writer.write(b"\x10\x0d\0\x04MQTT\x04\x02\0\x01\0\x01a")  # a keep alive of one second
        assert await reader.readexactly(4) == b"\x20\x02\0\0"
        monkeypatch.setattr(LoadAverages, "tick", cannot)
        assert await asyncio.wait_for(reader.read(), TIMEOUT) == b""
        writer.close()
    assert any("cannot count" in line for line in logged)


async def test_work_that_a_flush_gives_is_done_once_in_a_turn_of_the_event_loop():
    class Busy(Server):
        left = calls = 0

        def flush(self):
            super().flush()
            if self.left:
                self.left -= 1
                self.turns.give(lambda: False)

        def work(self):
            self.calls += 1
            return super().work()

    server = Busy(sys_interval=0)
    server.listen("127.0.0.1", 0)
    async with server:
        server.left = 20
        server.wake()
        for _ in range(40):
            before = server.calls
            await asyncio.sleep(0)
            assert server.calls - before <= 1
        assert server.left == 0 and server.calls >= 20


async def test_two_listeners(server):
    server.listen("127.0.0.1", 0)
    async with server:
        ports = [port for _, port in server.addresses]
        assert len(set(ports)) == 2
        for port in ports:
            client = await asyncio.to_thread(Paho, port, "client", 4)
            await asyncio.to_thread(client.disconnect)


async def test_listener_that_cannot_be_opened():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        server = Server()
        server.listen("127.0.0.1", 0)
        server.listen("127.0.0.1", port)
        with pytest.raises(OSError, match="cannot listen on 127.0.0.1:%d" % port):
            await server.start()
        assert server.addresses == []


class Slow(ListenerType):
    """A listener whose methods do what a test asks for."""

    KEYS = {"device": (str, "d")}
    PLACE = "device"
    hangs = False

    async def open(self):
        if self.hangs:
            await asyncio.Event().wait()

    def change(self, prepared):
        raise KeyError("against the contract")


class Counted(Authenticator):
    """An authenticator that knows which ones are open."""

    opened: list[Authenticator] = []

    def __init__(self, settings):
        self.settings = settings

    def open(self):
        self.opened.append(self)

    def close(self):
        self.opened.remove(self)


@pytest.fixture
def counted(monkeypatch):
    monkeypatch.setattr(built_in, "registered", [("listener", "slow", lambda: Slow), ("auth", "counted", lambda: Counted)])
    monkeypatch.setattr(Counted, "opened", [])
    return Counted.opened


async def test_a_start_that_is_cancelled_leaves_nothing_open(counted, monkeypatch):
    server = Server()
    port = free_port()
    server.configure({"auth": [{"type": "counted"}], "listener": [{"port": port}, {"type": "slow"}]})
    monkeypatch.setattr(Slow, "hangs", True)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(server.start(), 0.2)
    assert server.entrances[0].addresses == [] and counted == []
    monkeypatch.setattr(Slow, "hangs", False)
    async with server:
        assert len(counted) == 1 and server.addresses[0][1] == port
    assert counted == []


def defect():
    raise KeyError("a defect")


async def test_a_change_that_fails_leaves_no_authenticator_open(counted, monkeypatch):
    server = Server()
    values = {"max_qos": 2, "auth": [{"type": "counted"}], "listener": [{"id": "slow", "type": "slow"}, {"port": 0}]}
    server.configure(values)
    async with server:
        before = list(counted)
        with monkeypatch.context() as patch:
            patch.setattr(server, "rights_changed", defect)
            with pytest.raises(KeyError):
                await server.change({**values, "auth": [{"type": "counted", "name": "other"}]})
        assert counted == before == server.all_authenticators()
        await server.change({**values, "max_qos": 1, "auth": [{"type": "counted", "name": "other"}]})  # although a type's change raises
        assert counted == server.all_authenticators() != before and server.options.max_qos == 1
    assert counted == []


def test_a_configuration_that_fails_leaves_no_listener():
    server = Server(max_qos=2)
    for _ in range(2):
        with pytest.raises(ValueError, match="certificate"):
            server.configure({"max_qos": 1, "listener": [{"type": "http"}, {"tls": {"certificate": "no file", "key": "no file"}}]})
        assert (server.listeners, server.entrances, server.sites, server.options.max_qos) == ([], [], [], 2)


def test_wrong_options():
    for values in ({"max_connections": 0}, {"max_conections": 1}, {"anonymous": True}):
        with pytest.raises(ValueError, match=next(iter(values))):
            Server(**values)
    with pytest.raises(ValueError, match="port"):
        Server().listen(port=65536)
    with pytest.raises(ValueError, match="topic"):
        Server().publish("a/#", "x")
    with pytest.raises(ValueError, match="filter"):
        Server().subscribe("a/#/b", print)


# -- on a board ----------------------------------------------------------------------------------


@pytest.fixture
def board(server_process):
    """A MicroPython with the broker and tasks of its user; `echo` is a connection to one of them."""
    port = free_port()
    with server_process("micropython", str(port), script=MAIN) as process:
        with socket.create_connection(("127.0.0.1", port), TIMEOUT) as echo:
            process.echo = echo.makefile("rwb", buffering=0)
            yield process
        assert not process.trouble()
        process.kill()


LOADED = """
import sys
from port.micropython import Server
Server().listen("127.0.0.1", 1883)
print([name for name in sys.modules if name.startswith("port.")])
"""


def test_only_what_is_needed_is_loaded(tool):
    """Each module takes memory; those for a configuration, rules, passwords, WebSocket and TLS come when they are asked for."""
    command = [tool("micropython"), "-c", LOADED]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=TIMEOUT)
    assert "'port.core.broker'" in done.stdout, done.stderr
    for name in (
        "config.config", "config.apply_config", "acl.acl", "auth.passwords", "auth.certificate", "web.websocket", "web.http",
    ):  # fmt: skip
        assert "'port.core.%s'" % name not in done.stdout
    for name in ("config.config_file", "net.tls", "net.websocket_transport"):
        assert "'port.micropython.%s'" % name not in done.stdout


def say(board, text):
    board.echo.write(text + b"\n")
    return board.echo.readline()


def test_tasks_beside_the_broker(board):
    client = Paho(board.port, "client", 5)
    client.subscribe("board/answer", 1)
    client.subscribe("board/count", 0)
    assert say(board, b"hello") == b"HELLO\n"
    counts = [int(client.receive().payload) for _ in range(10)]
    assert counts == list(range(counts[0], counts[0] + 10))
    client.unsubscribe("board/count")
    client.publish("board/command/x", b"do", 1)
    answers = iter(lambda: client.receive(), None)
    assert next(m for m in answers if m.topic == "board/answer").payload == b"do!"
    assert say(board, b"still here") == b"STILL HERE\n"
    client.disconnect()


def test_tasks_do_not_starve(board):
    """While a client floods the broker the user's tasks go on."""
    stop = threading.Event()

    def flood():
        packet = b"\x30\x22\x00\x05flood" + bytes(27)
        with socket.create_connection(("127.0.0.1", board.port)) as sock:
            sock.sendall(b"\x10\x11\x00\x04MQTT\x04\x02\x00\x3c\x00\x05flood")
            assert sock.recv(4) == b"\x20\x02\x00\x00"
            while not stop.is_set():
                sock.sendall(packet * 100)

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        client = Paho(board.port, "client", 5)
        client.subscribe("board/count", 0)
        for n in range(20):
            assert say(board, b"line %d" % n) == b"LINE %d\n" % n
            client.receive()
    finally:
        stop.set()
        thread.join(TIMEOUT)
    client.disconnect()
