"""A client that behaves like mqtt_as: tasks on a non-blocking socket, MQTT 3.1.1.

It connects with a clean session, disconnects and connects again at once without one; one task
reads, one pings; a publication with QoS 1 that is not acknowledged in time is sent again with
DUP. An acknowledgement it does not wait for is an error. Argument: the broker's port.
"""

import asyncio
import errno
import socket
import sys

_BUSY = (errno.EAGAIN, errno.EINPROGRESS, errno.ETIMEDOUT)
_PING_MS = 300
_RESEND_MS = 1000


class AsyncClient:
    def __init__(self, client_id, port, callback):
        self.client_id = client_id
        self.port = port
        self.callback = callback
        self.waiting = set()  # packet identifiers that await an acknowledgement
        self.deaf = 0  # PUBACKs to lose on the way
        self.pongs = 0
        self.packet_id = 0
        self.lock = asyncio.Lock()
        self.tasks = []

    async def connect(self):
        """Connect twice; whether there was a session the second time."""
        await self._connect(True)
        await self._write(b"\xe0\x00")
        self.sock.close()
        present = await self._connect(False)
        self.tasks = [asyncio.create_task(self._read_all()), asyncio.create_task(self._ping())]
        return present

    async def _connect(self, clean):
        self.sock = socket.socket()
        self.sock.setblocking(False)
        try:
            self.sock.connect(socket.getaddrinfo("127.0.0.1", self.port)[0][-1])
        except OSError as e:
            if e.errno not in _BUSY:
                raise
        body = b"\x00\x04MQTT\x04" + (b"\x02" if clean else b"\x00") + b"\x00\x05" + self._text(self.client_id)
        await self._write(bytes((0x10, len(body))) + body)
        answer = await self._read(4)
        assert answer[:2] == b"\x20\x02" and not answer[3], answer
        return answer[2] == 1

    async def disconnect(self):
        for task in self.tasks:
            task.cancel()
        await self._write(b"\xe0\x00")
        self.sock.close()

    async def subscribe(self, topic, qos):
        packet_id = self._next_id()
        body = packet_id + self._text(topic) + bytes((qos,))
        self.waiting.add(packet_id)
        async with self.lock:
            await self._write(bytes((0x82, len(body))) + body)
        await self._acknowledged(packet_id)

    async def publish(self, topic, payload, qos=0):
        """Publish; how often it was sent again."""
        packet_id = self._next_id() if qos else b""
        body = self._text(topic) + packet_id + payload
        assert len(body) < 128
        if not qos:
            async with self.lock:
                await self._write(bytes((0x30, len(body))) + body)
            return 0
        self.waiting.add(packet_id)
        resent = 0
        while True:
            async with self.lock:
                await self._write(bytes((0x3A if resent else 0x32, len(body))) + body)
            try:
                await asyncio.wait_for_ms(self._acknowledged(packet_id), _RESEND_MS)
                return resent
            except asyncio.TimeoutError:
                resent += 1

    async def _acknowledged(self, packet_id):
        while packet_id in self.waiting:
            await asyncio.sleep_ms(5)

    async def _ping(self):
        while True:
            await asyncio.sleep_ms(_PING_MS)
            async with self.lock:
                await self._write(b"\xc0\x00")

    async def _read_all(self):
        try:
            while True:
                await self._read_one()
        except Exception as e:
            sys.print_exception(e)
            sys.exit(1)

    async def _read_one(self):
        kind = (await self._read(1))[0]
        if kind == 0xD0:
            assert await self._read(1) == b"\x00"
            self.pongs += 1
        elif kind == 0x40:
            assert await self._read(1) == b"\x02"
            packet_id = await self._read(2)
            if self.deaf:
                self.deaf -= 1
                return
            assert packet_id in self.waiting, "PUBACK nobody waits for"
            self.waiting.remove(packet_id)
        elif kind == 0x90:
            answer = await self._read(4)
            assert answer[0] == 3 and answer[3] != 0x80, answer
            assert answer[1:3] in self.waiting, "SUBACK nobody waits for"
            self.waiting.remove(answer[1:3])
        else:
            assert kind & 0xF0 == 0x30 and kind & 6 != 4, kind
            size = (await self._read(1))[0]
            assert size < 128
            body = await self._read(size)
            at = 2 + (body[0] << 8 | body[1])
            start = at + 2 if kind & 6 else at
            self.callback(body[2:at], body[start:], kind & 1 == 1)
            if kind & 6:
                async with self.lock:
                    await self._write(b"\x40\x02" + body[at:start])

    async def _read(self, size):
        data = b""
        while len(data) < size:
            try:
                more = self.sock.recv(size - len(data))
                if not more:
                    raise OSError("closed")
                data += more
            except OSError as e:
                if e.errno not in _BUSY:
                    raise
                await asyncio.sleep_ms(1)
        return data

    async def _write(self, data):
        while data:
            try:
                data = data[self.sock.send(data) :]
            except OSError as e:
                if e.errno not in _BUSY:
                    raise
                await asyncio.sleep_ms(1)

    def _text(self, data):
        return bytes((len(data) >> 8, len(data) & 255)) + data

    def _next_id(self):
        self.packet_id += 1
        return bytes((self.packet_id >> 8, self.packet_id & 255))


async def main(port):
    got = []
    client = AsyncClient(b"as", port, lambda *message: got.append(message))

    async def expect(*messages):
        while len(got) < len(messages):
            await asyncio.sleep_ms(5)
        assert got == list(messages), got
        got.clear()

    assert not await client.connect()
    await client.subscribe(b"as/+", 1)
    for n in range(10):
        assert await client.publish(b"as/x", b"%d" % n, n % 2) == 0
        await expect((b"as/x", b"%d" % n, False))
    # A PUBACK gets lost: the message comes twice, and so does its PUBACK.
    client.deaf = 1
    assert await client.publish(b"as/x", b"lost", 1) == 1
    await expect((b"as/x", b"lost", False), (b"as/x", b"lost", False))
    # Several at once, as tasks of a program would.
    await asyncio.gather(*[client.publish(b"as/y", b"%d" % n, 1) for n in range(10)])
    while len(got) < 10:
        await asyncio.sleep_ms(5)
    assert sorted(got) == [(b"as/y", b"%d" % n, False) for n in range(10)]
    got.clear()
    while client.pongs < 3:
        await asyncio.sleep_ms(5)
    # It comes back clean, whatever it left behind.
    await client.disconnect()
    assert not await client.connect()
    await client.publish(b"as/x", b"not subscribed", 1)
    await client.subscribe(b"as/+", 1)
    await client.publish(b"as/x", b"subscribed", 1)
    await expect((b"as/x", b"subscribed", False))
    await client.disconnect()
    print("done")


asyncio.run(main(int(sys.argv[1])))
