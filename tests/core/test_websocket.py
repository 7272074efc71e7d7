"""MQTT in WebSocket frames (RFC 6455): handshake, and the case groups of Autobahn|Testsuite that concern a server
which takes binary messages only: 1 framing, 2 pings, 3 reserved bits, 4 opcodes, 5 fragmentation, 7 closing (and of
6, UTF-8, what concerns the close reason), 9 sizes and 10 automatic fragmentation. Each conversation is fed whole,
byte by byte and in pieces, as bytes and as memoryview.
"""

from harness import raises
from port.core.wire.codec import varint
from port.core.config.listener_config import ListenerConfig
from port.core.web.websocket import WebSocket, frames

KEY = b"\x37\xfa\x21\x3d"
CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MAX_FRAME = 70000
HEAD = (
    b"GET /mqtt HTTP/1.1\r\nHost: broker:9001\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
)
ANSWER = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
)


def frame(opcode, payload=b"", fin=True, rsv=0, masked=True, size=None, key=KEY):
    """A frame of a client; `size` is its length field, bytes from the second on, if it is not to be the right one."""
    n = len(payload)
    if size is None:
        if n < 126:
            size = (n,)
        elif n < 65536:
            size = (126, n >> 8, n & 255)
        else:
            size = (127, 0, 0, 0, 0, n >> 24, n >> 16 & 255, n >> 8 & 255, n & 255)
    head = bytes((fin << 7 | rsv << 4 | opcode, masked << 7 | size[0])) + bytes(size[1:])
    if not masked:
        return head + payload
    hidden = bytearray(payload)
    for i in range(n):
        hidden[i] ^= key[i & 3]
    return head + key + bytes(hidden)


def server_frame(opcode, payload=b""):
    return bytes((0x80 | opcode, len(payload))) + payload


def closing(code):
    return server_frame(CLOSE, bytes((code >> 8, code & 255)))


def text(n):
    """n bytes, no two neighbours alike, nor two blocks."""
    data = bytearray(n)
    for i in range(n):
        data[i] = i * 7 + (i >> 8) & 255
    return bytes(data)


def opened(max_frame=MAX_FRAME):
    socket = WebSocket(("/mqtt",), (), max_frame)
    assert socket.receive(HEAD) == b""
    assert socket.out == ANSWER and socket.open and not socket.closed, socket.out
    socket.out = b""
    return socket


def feed(socket, pieces, view=False):
    """What an adapter does: (payload, what was written)."""
    payload = out = b""
    for piece in pieces:
        payload += socket.receive(memoryview(piece) if view else piece)
        out += socket.out
        socket.out = b""
    return payload, out


def cut(data, sizes):
    """Pieces of these sizes, over and over."""
    pieces = []
    i = n = 0
    while i < len(data):
        pieces.append(data[i : i + sizes[n % len(sizes)]])
        i += sizes[n % len(sizes)]
        n += 1
    return pieces


SPLITS = ((1 << 30,), (1,), (2, 3), (5, 1, 13, 2, 64), (7, 600, 4), (1300,), (4096,))


def play(data, payload, out, code, max_frame=MAX_FRAME, splits=SPLITS):
    """Feed `data` in all ways; code: None if it stays open, else the status code of the close frame at the end of out."""
    if code is not None:
        out += closing(code) if code else server_frame(CLOSE)
    for sizes in splits:
        for view in (False, True):
            socket = opened(max_frame)
            assert feed(socket, cut(data, sizes), view) == (payload, out), (data[:20], sizes, socket.reason)
            assert socket.closed == (code is not None), (data[:20], sizes)
            assert bool(socket.reason) == socket.closed


# -- 1, 9, 10: sizes -----------------------------------------------------------------------------


def test_1_binary_messages_of_all_sizes():
    for n in (0, 1, 2, 3, 4, 5, 7, 8, 124, 125, 126, 127, 128, 255, 256, 511, 512, 513, 514, 1023, 1026):
        play(frame(BINARY, text(n)), text(n), b"", None)


def test_1_9_large_messages():
    for n in (16383, 16384, 16385, 20480, 65535, 65536, MAX_FRAME):
        play(frame(BINARY, text(n)), text(n), b"", None, splits=((1 << 30,), (1300,), (16391, 5)))


def test_1_masks():
    for key in (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\1", b"\x80\0\0\0"):
        for n in (1, 3, 64, 130, 600):
            play(frame(BINARY, text(n), key=key), text(n), b"", None)
    data = b"".join([frame(BINARY, text(5), key=bytes((i, 255 - i, i * 3 & 255, 7))) for i in range(100)])
    play(data, text(5) * 100, b"", None)


def test_1_text_is_refused():
    # MQTT needs binary frames [MQTT-6.0.0-1].
    for payload in (b"", b"hello", text(126)):
        play(frame(TEXT, payload), b"", b"", 1003)
        play(frame(TEXT, payload, fin=False), b"", b"", 1003)
    play(frame(BINARY, b"a") + frame(TEXT, b"b"), b"a", b"", 1003)
    play(frame(BINARY, b"a", fin=False) + frame(TEXT, b"b"), b"a", b"", 1002)


def test_9_a_frame_too_long():
    play(frame(BINARY, text(200), fin=True), text(200), b"", None, 200)
    play(frame(BINARY, text(201)), b"", b"", 1009, 200)
    play(frame(BINARY, b"x") + frame(BINARY, text(201)), b"x", b"", 1009, 200)
    # Nothing of it need have come.
    play(frame(BINARY, size=(127, 0, 0, 0, 0, 0, 1, 0, 0)), b"", b"", 1009, 200)
    play(frame(BINARY, size=(127, 0x7F, 255, 255, 255, 255, 255, 255, 255)), b"", b"", 1009)
    # It is the frame that has a limit, not the message: nobody holds that.
    data = b"".join([frame(BINARY if not i else CONT, text(200), fin=i == 9) for i in range(10)])
    play(data, text(200) * 10, b"", None, 200)


def test_9_the_length_in_its_shortest_form():
    for size in ((126, 0, 0), (126, 0, 5), (126, 0, 125), (127, 0, 0, 0, 0, 0, 0, 0, 5),
                 (127, 0, 0, 0, 0, 0, 0, 255, 255), (127, 0x80, 0, 0, 0, 0, 1, 0, 0), (127,) + (255,) * 8):  # fmt: skip
        play(frame(BINARY, b"hello", size=size), b"", b"", 1002)


def test_9_many_small_messages():
    data = b"".join([frame(BINARY, text(n)) for n in range(120)])
    play(data, b"".join([text(n) for n in range(120)]), b"", None)


def test_9_10_a_message_in_fragments():
    whole = text(20000)
    for n in (64, 256, 1300, 4096):
        pieces = cut(whole, (n,))
        data = b"".join([
            frame(CONT if i else BINARY, pieces[i], fin=i == len(pieces) - 1) for i in range(len(pieces))
        ])  # fmt: skip
        play(data, whole, b"", None, splits=((1 << 30,), (997,), (1300,)))


# -- 2: pings and pongs --------------------------------------------------------------------------


def test_2_pings_are_answered():
    for payload in (b"", b"hello", b"\0\xff\xfe\xfd\xfc\xfb\0\xff", text(125)):
        play(frame(PING, payload), b"", server_frame(PONG, payload), None)
    data = b"".join([frame(PING, b"payload-%d" % i) for i in range(10)])
    play(data, b"", b"".join([server_frame(PONG, b"payload-%d" % i) for i in range(10)]), None)


def test_2_control_frames_too_long():
    for opcode in (CLOSE, PING, PONG):
        play(frame(opcode, text(126)), b"", b"", 1002)
        play(frame(opcode, b"x" * 65536), b"", b"", 1002, splits=((1 << 30,), (1300,)))


def test_2_pongs_nobody_asked_for():
    play(frame(PONG), b"", b"", None)
    play(frame(PONG, text(125)) + frame(PING, b"p") + frame(PONG, b"p"), b"", server_frame(PONG, b"p"), None)


def test_frames_are_looked_at_in_turns():
    """Pings, fragments of a byte, empty and small frames: so many for each call, and all that is left is kept."""
    fragments = frame(BINARY, b"0", fin=False) + frame(CONT, b"1", fin=False) * 299 + frame(CONT, b"2")
    for data, payload in (
        (frame(PING, b"p") * 301, b""), (fragments, b"0" + b"1" * 299 + b"2"), (frame(BINARY) * 301, b""),
        (frame(BINARY, b"x") * 301, b"x" * 301), (frame(PONG) * 301, b""),
    ):  # fmt: skip
        for more in (b"", frame(BINARY, text(300))[:200]):
            socket = opened()
            got = socket.receive(data + more, 500)
            assert socket.more and len(got) in (0, 100)  # each is five units of a turn
            calls = 1
            while socket.more:
                got += socket.receive(b"", 500)
                calls += 1
            assert calls == 4 and got[: len(payload)] == payload
            if more:
                assert got + socket.receive(frame(BINARY, text(300))[200:], 500) == payload + text(300)
    # What comes meanwhile is behind it, and nothing is when the connection is over.
    socket = opened()
    assert socket.receive(frame(BINARY, b"a") * 3, 10) == b"aa" and socket.more
    assert socket.receive(frame(BINARY, b"b"), 10) == b"ab" and not socket.more
    assert socket.receive(frame(BINARY, b"c") * 3, 10) == b"cc" and socket.more
    socket.close()
    assert not socket.more and socket.receive(b"") == b""


def test_2_a_flood_of_pings_takes_no_memory():
    socket = opened()
    for i in range(3):
        assert socket.receive(b"".join([frame(PING, b"%03d" % k + text(100)) for k in range(100)])) == b""
        # Nobody has written any answer; the last one there is answers the last PING.
        assert len(socket.out) <= 512
        assert socket.out.endswith(server_frame(PONG, b"099" + text(100)))
    # Neither is the handshake's answer lost by it.
    socket = WebSocket(("/mqtt",), (), 100)
    assert socket.receive(HEAD + b"".join([frame(PING, b"%03d" % k) for k in range(200)]) + frame(BINARY, b"x")) == b"x"
    assert socket.out.startswith(ANSWER) and socket.out.endswith(server_frame(PONG, b"199"))
    assert len(socket.out) <= 512


# -- 3, 4: reserved bits and opcodes -------------------------------------------------------------


def test_3_reserved_bits():
    for rsv in range(1, 8):
        for opcode in (CONT, BINARY, CLOSE, PING, PONG):
            play(frame(opcode, b"hello" if opcode < 8 else b"", rsv=rsv), b"", b"", 1002)
    play(frame(BINARY, b"a") + frame(BINARY, b"b", rsv=4) + frame(PING), b"a", b"", 1002)


def test_4_unknown_opcodes():
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        for payload in (b"", b"hello"):
            play(frame(opcode, payload), b"", b"", 1002)
            play(frame(BINARY, b"a") + frame(opcode, payload) + frame(PING), b"a", b"", 1002)


def test_4_frames_without_mask():
    for opcode in (CONT, BINARY, CLOSE, PING, PONG):
        play(frame(opcode, b"", masked=False), b"", b"", 1002)
    play(frame(BINARY, text(300), masked=False), b"", b"", 1002)


# -- 5: fragmentation ----------------------------------------------------------------------------


def test_5_control_frames_in_fragments():
    for opcode in (CLOSE, PING, PONG):
        play(frame(opcode, b"frag", fin=False) + frame(CONT, b"ment"), b"", b"", 1002)


def test_5_fragments_and_pings_between():
    ping, pong = frame(PING, b"p"), server_frame(PONG, b"p")
    play(frame(BINARY, b"a", fin=False) + frame(CONT, b"b"), b"ab", b"", None)
    play(frame(BINARY, b"a", fin=False) + ping + frame(CONT, b"b"), b"ab", pong, None)
    play(
        frame(BINARY, b"a", fin=False) + frame(CONT, b"b", fin=False) + ping + frame(CONT, text(300), fin=False) + ping
        + frame(CONT, b"d") + frame(BINARY, b"e"),
        b"ab" + text(300) + b"de", pong + pong, None,
    )  # fmt: skip
    empty = frame(BINARY, fin=False) + frame(CONT, fin=False) + frame(CONT)
    play(empty + empty + frame(BINARY, b"x"), b"x", b"", None)


def test_5_continuation_of_nothing():
    for fin in (False, True):
        play(frame(CONT, b"a", fin=fin) + frame(BINARY, b"b"), b"", b"", 1002)
        play(frame(BINARY, b"a") + frame(CONT, b"b", fin=fin), b"a", b"", 1002)
        play(frame(BINARY, b"a", fin=False) + frame(CONT, b"b") + frame(CONT, b"c", fin=fin), b"ab", b"", 1002)


def test_5_message_inside_a_message():
    for fin in (False, True):
        play(frame(BINARY, b"a", fin=False) + frame(BINARY, b"b", fin=fin), b"a", b"", 1002)


# -- 7 (and 6): closing --------------------------------------------------------------------------


def test_7_nothing_counts_after_a_close_frame():
    end = frame(CLOSE, b"\x03\xe8")
    play(end, b"", b"", 1000)
    play(frame(BINARY, b"a") + end, b"a", b"", 1000)
    for more in (end, frame(PING, b"p"), frame(BINARY, b"b"), frame(3), b"\0" * 300):
        play(end + more, b"", b"", 1000)
    play(frame(BINARY, b"a", fin=False) + end + frame(CONT, b"b"), b"a", b"", 1000)
    play(frame(PING, b"p") + end, b"", server_frame(PONG, b"p"), 1000)


def test_7_bodies_of_close_frames():
    play(frame(CLOSE), b"", b"", 0)
    play(frame(CLOSE, b"\x03"), b"", b"", 1002)
    hello = "Hello-\u00b5@\u00df\u00f6\u00e4\u00fc\u00e0\u00e1-UTF-8!!".encode()
    for reason in (b"", b"ok", b"*" * 123, hello, b"\0", b"\xf4\x8f\xbf\xbf"):
        play(frame(CLOSE, b"\x03\xe8" + reason), b"", b"", 1000)
    play(frame(CLOSE, b"\x03\xe8" + b"*" * 124), b"", b"", 1002)


def test_6_7_close_reasons_that_are_not_utf_8():
    for reason in (
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited", b"\xff", b"\x80", b"\xc0\x80", b"\xc1\xbf",
        b"\xe0\x80\xaf", b"\xed\xbf\xbf", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"a\xe2\x82", b"\0\xc3",
    ):  # fmt: skip
        play(frame(CLOSE, b"\x03\xe8" + reason), b"", b"", 1007)


def test_7_close_codes():
    for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999):
        play(frame(CLOSE, bytes((code >> 8, code & 255)) + b"why"), b"", b"", code)
    for code in (0, 1, 999, 1004, 1005, 1006, 1012, 1015, 1016, 1100, 2000, 2999, 5000, 65535):
        play(frame(CLOSE, bytes((code >> 8, code & 255))), b"", b"", 1002)


def test_the_broker_closes():
    socket = opened()
    assert socket.close() == closing(1000)
    assert socket.closed and socket.reason
    assert socket.close() == b"" and socket.out == b""
    assert socket.receive(frame(CLOSE, b"\x03\xe8") + frame(BINARY, b"x")) == b"" and socket.out == b""
    socket = opened()
    socket.receive(frame(PING, b"p") + frame(BINARY, text(300))[:100])
    assert socket.close(1001) == server_frame(PONG, b"p") + closing(1001)  # what waited goes first
    # There is no frame to say it in before the handshake.
    socket = WebSocket(("/mqtt",), (), 100)
    socket.receive(HEAD[:50])
    assert socket.close() == b"" and socket.closed
    assert socket.receive(HEAD[50:]) == b"" and socket.out == b"" and not socket.open
    # After the client's close frame, or a fault, all is said.
    socket = opened()
    socket.receive(frame(CLOSE))
    assert socket.close() == b"" and socket.out == server_frame(CLOSE)


def test_reasons_tell_nothing_of_the_content():
    socket = opened()
    socket.receive(frame(CLOSE, b"\x03\xe8secret"))
    assert "1000" in socket.reason and "secret" not in socket.reason


# -- sending -------------------------------------------------------------------------------------


def written(chunks):
    return b"".join([bytes(chunk) for chunk in frames(chunks)])


def packet(size):
    """A PUBLISH of so many bytes."""
    for left in range(size - 2, size - 6, -1):
        length = varint(left)
        if 1 + len(length) + left == size:
            break
    return b"\x30" + length + text(left)


def test_heads_of_frames_sent():
    for size, head in ((2, "8202"), (125, "827d"), (126, "827e007e"), (256, "827e0100"), (65535, "827effff"), (65536, "827f0000000000010000")):
        data = packet(size)
        assert len(data) == size
        assert written([data]) == bytes.fromhex(head) + data, size
    # A large payload is a chunk of its own, which may be shared and is not copied.
    begin, rest = b"\x30\xff\xff\xff\x7f\0\1a", bytes(10)
    pieces = []
    for piece in frames([begin, rest]):
        pieces.append(piece)
    assert pieces[0] == bytes.fromhex("827f0000000010000004") and pieces[1] == begin and pieces[2] is rest


def test_each_packet_is_sent_in_a_frame_of_its_own():
    """Whatever a chunk holds: one packet, several, the beginning of one, and its end."""
    packets = [b"\xd0\0", packet(20), packet(131), b"\x40\2\0\1", b"\x40\2\0\2", packet(2000), packet(20000)]
    expected = b"".join([written([data]) for data in packets])
    alone = [b"\x82\2\xd0\0", b"\x82\4\x40\2\0\1"]
    assert written(packets[:1]) == alone[0] and written(packets[3:4]) == alone[1]
    assert written(packets) == expected
    whole = b"".join(packets)
    assert written([whole]) == expected
    assert written([memoryview(whole)]) == expected
    for at in (22, 160, 400, 2200, len(whole) - 1):
        assert written([whole[:at], whole[at:]]) == expected, at
    assert written([packets[0], whole[2:500], whole[500:900], whole[900:]]) == expected


# -- handshake -----------------------------------------------------------------------------------


def shake(head, origins=(), paths=("/mqtt",)):
    """The answer to a handshake, the same however it is split."""
    answers = {}
    for sizes in ((1 << 30,), (1,), (50, 7)):
        socket = WebSocket(paths, origins, 100)
        payload, out = feed(socket, cut(head, sizes))
        assert payload == b"" and socket.open != socket.closed
        answers[out] = socket.open
        if socket.closed:
            assert socket.reason and socket.receive(HEAD) == b"" and socket.out == b""
    assert len(answers) == 1, answers
    return list(answers)[0]


def status(head, origins=(), paths=("/mqtt",)):
    answer = shake(head, origins, paths)
    assert answer.endswith(b"\r\n\r\n") == answer.startswith(b"HTTP/1.1 101 ")
    return int(answer.split(b" ")[1])


# (what to replace in HEAD, by what, the status of the answer)
HANDSHAKES = (
    (b"GET", b"POST", 405),
    (b"GET", b"HEAD", 405),
    (b"HTTP/1.1", b"HTTP/1.0", 505),
    (b"HTTP/1.1", b"HTTP/2.0", 505),
    (b"/mqtt", b"/", 404),
    (b"/mqtt", b"/mqtt/", 404),
    (b"/mqtt", b"/MQTT", 404),
    (b"/mqtt", b"/mqtt?token=x", 101),
    (b"/mqtt", b"/x?/mqtt", 404),
    (b"Host: broker:9001\r\n", b"", 400),
    (b"Upgrade: websocket\r\n", b"", 426),
    (b"Upgrade: websocket", b"Upgrade: h2c", 426),
    (b"Upgrade: websocket", b"upgrade: h2c, WebSocket", 101),
    (b"Connection: Upgrade\r\n", b"", 400),
    (b"Connection: Upgrade", b"Connection: keep-alive", 400),
    (b"Connection: Upgrade", b"connection: keep-alive, upgrade", 101),
    (b"Connection: Upgrade", b"Connection: keep-alive\r\nConnection: UPGRADE", 101),
    (b"Version: 13", b"Version: 8", 426),
    (b"Version: 13", b"Version: 13, 8", 426),
    (b"Sec-WebSocket-Version: 13\r\n", b"", 426),
    (b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b"", 400),
    (b"dGhlIHNhbXBsZSBub25jZQ==", b"", 400),
    (b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhlIHNhbXBsZSBub25j", 400),
    (b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhlIHNhbXBsZSBub25jZQQ=", 400),
    (b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhlIHNhbXBsZSB!b25jZQ==", 400),
    (b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", 400),
    (b"Protocol: mqtt", b"Protocol: MQTT", 400),
    (b"Protocol: mqtt", b"Protocol: chat, soap", 400),
    (b"Sec-WebSocket-Protocol: mqtt\r\n", b"", 400),
    (b"Protocol: mqtt", b"Protocol: chat, mqtt", 101),
    (b"Protocol: mqtt", b"Protocol: chat\r\nSec-WebSocket-Protocol: mqtt", 101),
    (b"Host:", b"Sec-WebSocket-Extensions: permessage-deflate\r\nHost:", 101),
    (b"Host:", b"Content-Length: 3\r\nHost:", 413),
    (b"Host:", b"Host : x\r\nHost:", 400),
    (b"Host:", b"X: " + b"x" * 4096 + b"\r\nHost:", 431),
)


def test_the_handshake_of_the_standard():
    # The key and the answer stand in clause 1.3.
    assert shake(HEAD) == ANSWER


def test_handshakes():
    for old, new, expected in HANDSHAKES:
        assert old in HEAD
        assert status(HEAD.replace(old, new)) == expected, (old, new)


def test_refusals_say_what_would_do():
    assert b"\r\nAllow: GET\r\n" in shake(HEAD.replace(b"GET", b"PUT"))
    assert b"\r\nSec-WebSocket-Version: 13\r\n" in shake(HEAD.replace(b"Version: 13", b"Version: 7"))
    assert b"\r\nUpgrade: websocket\r\n" in shake(b"GET /mqtt HTTP/1.1\r\nHost: h\r\n\r\n")
    for head in (HEAD.replace(b"mqtt", b"secret"), HEAD.replace(b"Version: 13", b"Version: secret")):
        assert b"secret" not in shake(head)


def test_the_first_protocol_offered_is_chosen():
    for offered, chosen in (
        (b"mqtt", b"mqtt"), (b"mqttv3.1", b"mqttv3.1"), (b"mqttv3.1, mqtt", b"mqttv3.1"), (b"mqtt,mqttv3.1", b"mqtt"),
        (b"chat ,mqttv3.1", b"mqttv3.1"),
    ):  # fmt: skip
        answer = shake(HEAD.replace(b"Protocol: mqtt", b"Protocol: " + offered))
        assert b"\r\nSec-WebSocket-Protocol: " + chosen + b"\r\n" in answer
        assert b"Extensions" not in answer


def test_several_paths():
    for path, expected in ((b"/mqtt", 101), (b"/", 101), (b"/ws", 404)):
        assert status(HEAD.replace(b"/mqtt", path), paths=("/", "/mqtt")) == expected
        assert status(HEAD.replace(b"/mqtt", path), paths=ListenerConfig({"type": "websocket"}).settings["paths"]) == expected


def test_any_path():
    for path in (b"/mqtt", b"/", b"/ws", b"/a/b?c=d", b"/*"):
        assert status(HEAD.replace(b"/mqtt", path), paths=("*",)) == 101
        assert status(HEAD.replace(b"/mqtt", path), paths=("/x", "*")) == 101
    assert status(HEAD.replace(b"/mqtt", b"/ws"), paths=("/*",)) == 404
    assert status(HEAD.replace(b"Upgrade: websocket\r\n", b""), paths=("*",)) == 426
    assert ListenerConfig({"type": "websocket", "paths": ["*"]}).settings["paths"] == ("*",)
    for text in ("mqtt", "", "*/mqtt"):
        error = raises(ValueError, ListenerConfig, {"type": "websocket", "paths": ["/", text]})
        assert str(error) == "listener websocket: paths must begin with / or be *, not %r" % text


def test_origins():
    listed = ("https://example.com", "http://Panel.local:8080")
    for origins, origin, expected in (
        # pages from here alone, "here" being what Host says
        ((), None, 101),
        ((), b"http://broker:9001", 403),  # whoever owns the name may let it lead here
        ((), b"https://BROKER:9001", 403),
        ((), b"http://broker", 403),
        ((), b"http://broker:80", 403),
        ((), b"http://evil:9001", 403),
        ((), b"http://broker:9001.evil", 403),
        ((), b"file://broker:9001", 403),
        ((), b"null", 403),
        ((), b"", 403),
        ((), b"broker:9001", 403),
        # a list
        (listed, None, 101),
        (listed, b"https://example.com", 101),
        (listed, b"HTTPS://Example.Com", 101),
        (listed, b"http://panel.local:8080", 101),
        (listed, b"http://example.com", 403),
        (listed, b"https://example.com:444", 403),
        (listed, b"https://example.com.evil", 403),
        (listed, b"https://www.example.com", 403),
        (listed, b"http://broker:9001", 403),
        (listed, b"null", 403),
        # any
        (("*",), b"http://evil", 101),
        (("*",), b"null", 101),
    ):
        head = HEAD if origin is None else HEAD.replace(b"Host:", b"Origin: " + origin + b"\r\nHost:")
        assert status(head, origins) == expected, (origins, origin)
    for host, origin, expected in (
        (b"192.168.1.5:9001", b"http://192.168.1.5:9001", 101), (b"localhost:9001", b"https://LocalHost:9001", 101),
        (b"[fd00::1]:9001", b"http://[fd00::1]:9001", 101), (b"127.0.0.1", b"http://127.0.0.1", 101),
        (b"192.168.1.5:9001", b"http://192.168.1.5", 403), (b"192.168.1.5", b"http://192.168.1.5:80", 403),
        (b"192.168.1.5:9001", b"http://192.168.1.6:9001", 403), (b"192.168.1.5:9001", b"file://192.168.1.5:9001", 403),
        (b"192.168.1.5.evil:9001", b"http://192.168.1.5.evil:9001", 403), (b"localhost.evil", b"http://localhost.evil", 403),
        (b"1.2.3.4:5:6", b"http://1.2.3.4:5:6", 403), (b"", b"http://", 403), (b":80", b"http://:80", 403),
        (b"\xff", b"http://\xff", 403), (b"[", b"http://[", 403), (b"user@localhost", b"http://user@localhost", 403),
    ):  # fmt: skip
        head = HEAD.replace(b"Host: broker:9001", b"Origin: " + origin + b"\r\nHost: " + host)
        assert status(head) == expected, (host, origin)
    twice = HEAD.replace(b"Host:", b"Origin: https://example.com\r\nOrigin: https://example.com\r\nHost:")
    assert status(twice, listed) == 403


def test_frames_right_behind_the_handshake():
    data = HEAD + frame(BINARY, b"\xc0\0") + frame(PING, b"p") + frame(BINARY, text(600))
    for sizes in SPLITS:
        for view in (False, True):
            socket = WebSocket(("/mqtt",), (), MAX_FRAME)
            assert feed(socket, cut(data, sizes), view) == (b"\xc0\0" + text(600), ANSWER + server_frame(PONG, b"p"))


def test_what_is_not_http_is_refused_at_once():
    for data in (b"\x10\x0e\x00\x04MQTT", b"\x16\x03\x01", b"\0"):
        socket = WebSocket(("/mqtt",), (), 100)
        assert socket.receive(data[:1]) == b""
        assert socket.closed and socket.out.startswith(b"HTTP/1.1 400 ")


def test_an_endless_handshake_is_refused():
    socket = WebSocket(("/mqtt",), (), 100)
    fed = 0
    while not socket.closed:
        assert socket.receive(HEAD[:-2] if not fed else b"X: y\r\n") == b""
        fed += 1
        assert fed < 1000
    assert socket.out.startswith(b"HTTP/1.1 431 ")
