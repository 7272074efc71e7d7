"""The least a QoS 0 message costs in Python: poll, recv, one dict lookup, send. A peer for tools/bench, no broker.

    tools/bench --brokers ucomqtt,mosquitto,floor --peer "floor=python3.11 tools/benchmark/floor.py {port}" --only qos0-500-w1

Knows MQTT 3.1.1 as far as that workload goes: short packets, one subscriber a topic, nothing checked, nothing kept.
"""

import select
import socket
import sys

CONNECT, PUBLISH, SUBSCRIBE = 0x10, 0x30, 0x82


def main(port: int) -> None:
    """Forward until the process is ended."""
    door = socket.create_server(("127.0.0.1", port), backlog=4096)
    poll = select.epoll()
    poll.register(door.fileno(), select.EPOLLIN)
    clients: dict[int, socket.socket] = {}
    subscribers: dict[bytes, socket.socket] = {}
    while True:
        for number, _ in poll.poll():
            client = clients.get(number)
            if client is None:
                client, _ = door.accept()
                client.setblocking(False)
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                clients[client.fileno()] = client
                poll.register(client.fileno(), select.EPOLLIN)
                continue
            data = client.recv(16384)
            if not data:
                poll.unregister(number)
                clients.pop(number).close()
            elif data[0] == PUBLISH:
                subscriber = subscribers.get(data[4 : 4 + data[3]])
                if subscriber is not None:
                    subscriber.send(data)
            elif data[0] == CONNECT:
                client.send(b"\x20\2\0\0")
            elif data[0] == SUBSCRIBE:
                subscribers[data[6 : 6 + data[5]]] = client
                client.send(b"\x90\3" + data[2:4] + b"\0")


if __name__ == "__main__":
    main(int(sys.argv[1]))
