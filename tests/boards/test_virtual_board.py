"""What only a board shows: limits of lwIP, one heap for everything, a serial console, a network that comes and goes."""

import json
import re
import subprocess
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from fuzz_packets import connect, publish, subscribe
from swarm import packet_id_of, topic_of
from virtual_board import STOCK_PCBS

HEAP_AFTER_START = 36 * 1024  # what lies above is a reason to look for it
FREE_WITH_CLIENTS = 60 * 1024


def heap(swarm):
    """Bytes in use and free on the board, without garbage, from $SYS; a client is there while it is asked."""
    client = swarm.connect(b"heap")
    packets = swarm.exchange(client, subscribe(4, 1, [(b"$SYS/broker/heap/+", 0)]), 3)
    values = {topic_of(body): int(body[2 + len(topic_of(body)):]) for first, body in packets if first & 0xF0 == 0x30}
    leave(swarm, client)
    return values[b"$SYS/broker/heap/current"], values[b"$SYS/broker/heap/free"]


def leave(swarm, client):
    """Disconnect, and wait until the broker has closed."""
    swarm.send(client, b"\xe0\0")
    swarm.wait(lambda: client.closed)
    swarm.clients.remove(client)
    client.abort()


def put(mpremote, board, tmp_path, **options):
    """Give the board a configuration, with which it starts again."""
    everybody = {"anonymous": "all", "max_connections_per_address": 0,
                 "listener": [{"host": "0.0.0.0", "port": 1883}]}  # nosec B104 # the board's own network
    file = tmp_path / "ucomqtt.json"
    file.write_text(json.dumps({**everybody, **options}))
    mpremote(board, "cp", file, ":ucomqtt.json", "+", "reset")
    board.wait_until_it_answers()


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
    _, free = heap(swarm)
    assert free >= FREE_WITH_CLIENTS, free
    assert all(swarm.ping(client) for client in clients)


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
    assert mpremote(board, "mount", tmp_path, "exec", "import hello").strip().endswith("hello from the host")
    package = tmp_path / "package.json"
    package.write_text(json.dumps({"urls": [["greeting/hello.py", file.name]]}))
    mpremote(board, "mip", "install", "--target", "/lib", package)
    assert mpremote(board, "exec", "import greeting.hello").strip() == "hello from the host"
    mpremote(board, "reset")
    board.wait_until_it_answers()


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


def test_main_of_the_user(start_board, mpremote, tmp_path):
    """A main.py in the file system comes before the one in the firmware, and lasts over a reset."""
    board = start_board()
    file = tmp_path / "main.py"
    file.write_text("print('my own', 'program')\n")
    mpremote(board, "cp", file, ":main.py", "+", "reset")
    while "my own program" not in board.output:
        assert not board.trouble()
    mpremote(board, "rm", ":main.py", "+", "reset")
    board.wait_until_it_answers()
