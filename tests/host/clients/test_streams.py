"""What client libraries can do where clients come through asyncio's own streams, on both runtimes: port.core.streams."""

import asyncio
import os
import socket

import pytest

from drivers import TIMEOUT
from drivers.aiomqtt_client import AioMqtt
from drivers.mqttjs import MqttJs
from drivers.paho import Paho
from fuzzing.packets import connect as connect_packet
from fuzzing.packets import subscribe
from port.core import streams
from port.cpython import Server
from server_process import RUNTIMES
from tests.host.clients.test_clients import (  # noqa: F401
    LIBRARIES,
    connect,
    name,
    named,
    node,
    test_every_qos,
    test_keep_alive,
    test_large_payload,
    test_persistent_session,
    test_properties,
    test_retained,
    test_shared_subscription,
    test_subscription_identifier,
    test_takeover,
    test_unsubscribed,
    test_will,
)
from toolchain import ROOT

SCRIPT = ROOT / "tests" / "support" / "programs" / "streams_broker.py"


@pytest.fixture(scope="module", params=RUNTIMES)
def broker(request, server_process):
    with server_process(request.param, script=SCRIPT) as server:
        yield server
        assert not server.trouble()


@pytest.fixture(
    params=LIBRARIES if os.environ.get("UCOMQTT_FULL") == "1" else [(Paho, 3), (Paho, 4), (Paho, 5), (AioMqtt, 5)], ids=named
)
def library(request):
    if request.param[0] is MqttJs:
        MqttJs.node = request.getfixturevalue("node")
    return request.param


async def test_a_peer_that_never_reads_keeps_nothing(monkeypatch):
    """Neither its task nor what was to be sent: what a transport of asyncio's holds back has its time, too."""
    monkeypatch.setattr(streams, "_PATIENCE", 300)
    server = Server()
    await server.start()
    tasks: "list[asyncio.Task[None]]" = []

    async def serve(reader, writer):
        tasks.append(asyncio.current_task())  # type: ignore[arg-type]
        await streams.serve_stream(server, reader, writer, "127.0.0.1:1")

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    for told in (True, False):
        with socket.create_connection(listening.sockets[0].getsockname()) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.sendall(connect_packet(5, b"c") + subscribe(5, 1, [(b"a", 0)]))
            while "c" not in [str(session.client_id, "ascii") for session in server.sessions.values() if session.subscriptions]:
                await asyncio.sleep(0.01)
            server.publish("a", bytes(3000000))
            await asyncio.sleep(0.05)
            if told:
                server.disconnect("c")
            else:
                tasks[-1].cancel()
            await asyncio.wait(tasks, timeout=TIMEOUT)
            assert all(task.done() for task in tasks) and not server.connections
    listening.close()
    await server.stop()
