"""What is sent to WebSocket clients is framed once for all of them; what they send is unframed in turns."""

import asyncio
import random
from typing import Any

import pytest

from port.core.wire.codec import packet
from port.core.web import websocket
from port.cpython import Server
from port.cpython.net import websocket_frames
from tests.fuzz.test_websocket import HEAD, frame

KEY = b"\1\2\3\4"


def publish(topic: bytes, size: int, fill: bytes = b"x") -> bytes:
    return packet(0x30, bytes((0, len(topic))) + topic + fill * size)


def whole(pieces) -> bytes:
    return b"".join(bytes(piece) for piece in pieces)


def test_frames_are_those_of_the_core():
    dice = random.Random(7)
    kinds = [
        lambda: publish(b"t", dice.choice((0, 1, 60, 130, 300, 2000)), bytes((dice.randrange(256),))),
        lambda: b"".join(publish(b"t", size, bytes((n % 251,))) for size in [dice.choice((0, 3, 118, 119, 122, 123, 124, 600))]
                         for n in range(dice.choice((2, 5, 200)))),
        lambda: bytearray(b"\x40\2\0\1" * dice.randrange(1, 300)),
        lambda: b"\x40\2\0\1" + b"\xd0\0" * 3 + publish(b"t", 4),
        lambda: publish(b"t", 66000),
        lambda: memoryview(publish(b"t", 20) * 3),
    ]

    async def play():
        framer = websocket_frames.Frames()
        for shared in (False, True):
            for _ in range(150):
                chunks: list[Any] = [dice.choice(kinds)() for _ in range(dice.randrange(1, 6))]
                large = publish(b"large", 70000)
                if dice.random() < 0.4:  # in pieces, as the core sends it
                    at = dice.randrange(len(chunks) + 1)
                    chunks[at:at] = [large[:12], large[12:]] if dice.random() < 0.5 else [large[:12], large[12:69000], large[69000:] + b"\xd0\0"]
                assert whole(framer.of(list(chunks), shared)) == whole(websocket.frames(chunks))
            # A large payload is not copied, for all share it.
            payload = large[12:]
            assert framer.of([large[:12], payload], shared)[2] is payload
        await asyncio.sleep(0)
        assert not framer._known and not framer._bytes  # all have been sent it

    asyncio.run(play())


def test_a_row_is_framed_once_for_all_and_in_few_operations(monkeypatch):
    sizes, framed = [], []
    framed_whole = websocket_frames.framed_whole

    def counted_size(data, start):
        sizes.append(start)
        return websocket.packet_size(data, start)

    def counted(chunk):
        framed.append(len(chunk))
        return framed_whole(chunk)

    monkeypatch.setattr(websocket_frames, "packet_size", counted_size)
    monkeypatch.setattr(websocket_frames, "framed_whole", counted)
    row = publish(b"a", 1) * 40000
    single = publish(b"b", 5)

    async def play():
        framer = websocket_frames.Frames()
        for _ in range(20):
            found = framer.of([row, single], True)
            assert found[0] == websocket.frame_head(6).join([b""] + [publish(b"a", 1)] * 40000)
            assert found[0] is framer.of([row], True)[0]
        assert framed == [len(row), len(single)] and sizes == [0, 0]

    asyncio.run(play())


@pytest.mark.parametrize("ends", ["disconnect", "reset"])
def test_frames_come_in_turns_and_none_is_lost(monkeypatch, ends):
    """Small frames, pings and fragments of a byte in one piece, and behind them the end."""
    calls = []
    receive = websocket.WebSocket.receive

    def counted(self, data, *turn):
        payload = receive(self, data, *turn)
        calls.append((len(payload), self.more))
        return payload

    monkeypatch.setattr(websocket.WebSocket, "receive", counted)
    each = publish(b"t", 3)

    async def play():
        got: list[Any] = []
        will: list[Any] = []
        server = Server(anonymous="all")
        server.listen("127.0.0.1", 0, type="websocket")
        server.turns.limit = 1000  # units: a hundred frames in half of it
        await server.start()
        server.subscribe("t", got.append)
        server.subscribe("w", will.append)
        port = server.addresses[0][1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        hello = packet(0x10, b"\0\4MQTT\4\6\0\0\0\1c\0\1w\0\1x")
        writer.write(HEAD + frame(0x82, hello, KEY))
        await reader.readuntil(b"\r\n\r\n")
        assert (await reader.readexactly(6))[2:] == b"\x20\2\0\0"
        calls.clear()
        data = frame(0x82, each, KEY) * 1000 + frame(0x89, b"p", KEY) * 1000
        pieces = each * 100
        data += b"".join(frame((2 if n == 0 else 0) | (0x80 if n == len(pieces) - 1 else 0), pieces[n : n + 1], KEY) for n in range(len(pieces)))
        writer.write(data + frame(0x82, b"\xe0\0", KEY))
        if ends == "disconnect":
            await reader.read()
        else:
            writer.close()
        for _ in range(3000):
            if "c" not in [s.client_id.decode() for s in server.sessions.values()]:
                break
            await asyncio.sleep(0.01)
        await server.stop()
        assert len(got) == 1100 and not will
        assert max(size for size, _ in calls) <= 100 * len(each)  # of a hundred frames
        assert len([1 for _, more in calls if more]) >= 20

    asyncio.run(play())
