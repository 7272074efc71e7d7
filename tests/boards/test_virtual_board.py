"""What only a board shows: limits of lwIP, one heap for everything, a serial console, a network that comes and goes."""

import json
import re
import subprocess
import time
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from drivers.paho import Paho
from fuzzing.packets import connect, publish, subscribe
from swarm import packet_id_of, topic_of
from virtual_board.board import STOCK_PCBS

HEAP_AFTER_START = 38.5 * 1024  # what lies above is a reason to look for it
FREE_WITH_CLIENTS = 60 * 1024


def test_heap_after_start(start_board):
    found = re.search(r"heap (\d+) bytes in use, (\d+) free", start_board().output)
    assert found
    used, free = map(int, found.groups())
    assert used <= HEAP_AFTER_START, used
    assert used + free > 180 * 1024


def test_every_client_that_there_is_room_for(start_board, swarm_of):
    """22 clients at once, each with a subscription, a retained message and traffic at QoS 1; 60 KB stay free."""
    board = start_board()
    swarm = swarm_of(board)
    clients = [swarm.connect(b"client-%d" % i, 4 + i % 2) for i in range(22)]
    for i, client in enumerate(clients):
        swarm.exchange(client, subscribe(4 + i % 2, 1, [(b"room/%d/+" % i, 1)]))
    for k in range(5):
        for i, client in enumerate(clients):
            topic = b"room/%d/value" % ((i + 1) % len(clients))
            swarm.send(client, publish(4 + i % 2, topic, b"%d" % k + bytes(50), 1, k + 1, k == 4))
        swarm.wait(lambda: all(len(client.packets) >= 2 for client in clients))
        for client in clients:
            for first, body in client.take():
                if first & 0xF0 == 0x30:
                    swarm.send(client, b"\x40\2" + packet_id_of(body))
    _, free = swarm.heap()
    assert free >= FREE_WITH_CLIENTS, free
    assert all(swarm.ping(client) for client in clients)


@pytest.mark.parametrize("version", [4, 5])
def test_as_many_connections_as_a_stock_pico_w(start_board, swarm_of, version):
    """Five: four clients are served, the fifth is told that there is no room, each time, and none waits in vain."""
    board = start_board(pcbs=STOCK_PCBS)
    swarm = swarm_of(board)
    clients = [swarm.connect(b"client-%d" % i, version) for i in range(STOCK_PCBS - 1)]
    for i in range(5):
        late = swarm.open(connect(version, b"late-%d" % i))
        swarm.wait(lambda: late.closed)
        (first, body), = late.packets
        assert (first, body[1]) == (0x20, 0x97 if version == 5 else 3)
        late.abort()  # until it closes its side, too, it takes one of the five
        swarm.clients.remove(late)
    assert all(swarm.ping(client) for client in clients)
    swarm.leave(clients.pop())
    swarm.connect(b"next", version)


def test_network_down_and_up(start_board, swarm_of):
    """Clients that cannot be reached are dropped when their keep alive is over, and nothing of them is left.

    One with more patience stays, and what the board had to send while it had no link arrives afterwards.
    """
    board = start_board()
    swarm = swarm_of(board)
    patient = swarm.connect(b"patient", keep_alive=600)
    swarm.exchange(patient, subscribe(4, 1, [(b"will/#", 1)]))
    used = 0
    for turn in range(2):
        clients = [swarm.connect(b"client-%d" % i, keep_alive=1, will=(b"will/%d" % i, b"gone", 1, False))
                   for i in range(8)]
        for i, client in enumerate(clients):
            swarm.exchange(client, subscribe(4, 1, [(b"will/#", 1), (b"room/%d" % i, 0)]))
        board.set_link(False)
        for client in clients:
            swarm.send(client, publish(4, b"room/1", bytes(200)))
        time.sleep(3)  # twice what their keep alive allows
        board.set_link(True)
        for client in clients:
            swarm.forget(client)
            swarm.clients.remove(client)
            client.abort()
        wills: set[bytes] = set()
        while len(wills) < len(clients):
            swarm.wait(lambda: patient.packets or patient.closed)
            assert not patient.closed
            for _, body in patient.take():
                wills.add(topic_of(body))
                swarm.send(patient, b"\x40\2" + packet_id_of(body))
        before, used = used, swarm.settled_heap()
    assert used < before + 512, (before, used)
    swarm.forget(patient)
    swarm.clients.remove(patient)
    patient.abort()
    # lwIP gives up connections that were not closed properly after 10 seconds.
    clients = [swarm.connect(b"other-%d" % i) for i in range(22)]
    assert swarm.figure(clients[0], b"clients/connected") == len(clients)


def test_client_that_does_not_read(start_board, swarm_of):
    """One holds what lwIP lets it have: the others do not notice. When it sends all the same, it is disconnected."""
    board = start_board()
    swarm = swarm_of(board)
    good, bad, publisher = [swarm.connect(name) for name in (b"good", b"bad", b"publisher")]
    for client in (good, bad):
        swarm.exchange(client, subscribe(4, 1, [(b"flow", 0)]))
    swarm.forget(bad)
    dropped = 0
    for i in range(2000):  # the network in between takes some MB
        swarm.send(publisher, publish(4, b"flow", b"%08d" % i + bytes(8000)))
        swarm.wait(lambda: good.packets)
        (_, body), = good.take()
        assert body[6:14] == b"%08d" % i
        if i % 20 == 0:
            dropped = swarm.figure(publisher, b"messages/publish/dropped")
            if dropped > 20:
                break
    assert dropped
    bad.sock.settimeout(60)
    with pytest.raises((ConnectionError, BrokenPipeError)):
        while True:
            bad.sock.sendall(b"\xc0\0" * 500)
    assert swarm.ping(good)
    swarm.connect(b"guest")


def test_more_than_the_heap_holds(start_board, swarm_of):
    """With half the heap: clients, queues and retained messages until it is full, and the broker goes on."""
    board = start_board(heap=80 * 1024)
    swarm = swarm_of(board)
    for turn in range(2):
        clients = [swarm.open(connect(4, b"squeeze-%d-%d" % (turn, i)) + subscribe(4, 1, [(b"large/#", 1)]))
                   for i in range(10)]
        swarm.wait(lambda: all(client.packets or client.closed for client in clients))
        for i, client in enumerate(clients):
            swarm.send(client, publish(4, b"large/%d" % i, bytes(7000), 1, 9, i % 2 == 0) + b"\xc0\0")
        swarm.wait(lambda: all(client.closed or (0xD0, b"") in client.packets for client in clients))
        for client in clients:
            swarm.forget(client)
            swarm.clients.remove(client)
            client.abort()
    guest = swarm.open(connect(4, b"guest"))
    swarm.wait(lambda: guest.packets or guest.closed)
    assert guest.packets and guest.packets[0][0] == 0x20


def test_websocket(board):
    got: list[Any] = []
    client: Any = paho.Client(CallbackAPIVersion.VERSION2, transport="websockets")
    client.on_connect = lambda client, *_: client.subscribe("p/#", 2)
    client.on_subscribe = lambda client, *_: [client.publish("p/%d" % qos, b"x" * 3000, qos) for qos in (0, 1, 2)]
    client.on_message = lambda client, _, message: got.append((message.topic, message.qos, len(message.payload)))
    client.connect("127.0.0.1", board.websocket_port)
    while len(got) < 3:
        assert client.loop(10) == paho.MQTT_ERR_SUCCESS
    client.disconnect()
    assert sorted(got) == [("p/0", 0, 3000), ("p/1", 1, 3000), ("p/2", 2, 3000)]


def test_mpremote(start_board, mpremote, tmp_path):
    """The prompt is there while the broker runs, files and packages come over the console, and it starts again."""
    board = start_board()
    assert mpremote(board, "exec", "print(6 * 7)").strip() == "42"
    file = tmp_path / "hello.py"
    file.write_text("print('hello from a file')\n")
    assert mpremote(board, "run", file).strip() == "hello from a file"
    mpremote(board, "cp", file, ":hello.py")
    assert mpremote(board, "exec", "import hello").strip() == "hello from a file"
    file.write_text("print('hello from the host')\n")
    # What mpremote says itself may come before what the board says, or after it.
    assert "hello from the host" in mpremote(board, "mount", tmp_path, "exec", "import hello").splitlines()
    package = tmp_path / "package.json"
    package.write_text(json.dumps({"urls": [["greeting/hello.py", file.name]]}))
    mpremote(board, "mip", "install", "--target", "/lib", package)
    assert mpremote(board, "exec", "import greeting.hello").strip() == "hello from the host"
    mpremote(board, "reset")
    board.wait_until_it_listens()


def test_ampy(start_board, tool, tmp_path):
    board = start_board()
    file = tmp_path / "hello.py"
    file.write_text("print('hello from ampy')\n")

    def ampy(*arguments):
        return subprocess.run([tool("ampy"), "-p", board.console, *map(str, arguments)], timeout=60, text=True, check=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout

    assert ampy("run", file).strip() == "hello from ampy"
    ampy("put", file, "/hello.py")
    assert ampy("get", "/hello.py").strip() == file.read_text().strip()


def test_configuration(start_board, mpremote, tmp_path):
    """A configuration file is read at the start; one with a mistake is refused, and the prompt is there."""
    board = start_board()
    file = tmp_path / "config.json"
    listener = {"host": "0.0.0.0", "port": 1883, "max_packet_size": 200}  # nosec B104 # in QEMU's network
    file.write_text(json.dumps({"anonymous": "all", "listener": [listener]}))
    mpremote(board, "cp", file, ":config.json", "+", "reset")
    board.wait_until_it_listens()
    client = Paho(board.port, "client", 5)
    assert client.connack["MaximumPacketSize"] == 200
    client.disconnect()
    file.write_text(json.dumps({"max_conections": 4}))
    mpremote(board, "cp", file, ":config.json", "+", "reset")
    while "unknown option max_conections" not in board.output:
        assert not board.trouble()
    assert mpremote(board, "exec", "print(6 * 7)").strip() == "42"


def test_main_of_the_user(start_board, mpremote, tmp_path):
    """A main.py in the file system comes before the one in the firmware, and lasts over a reset."""
    board = start_board()
    file = tmp_path / "main.py"
    file.write_text("print('my own', 'program')\n")
    mpremote(board, "cp", file, ":main.py", "+", "reset")
    while "my own program" not in board.output:
        assert not board.trouble()
    mpremote(board, "rm", ":main.py", "+", "reset")
    board.wait_until_it_listens()
