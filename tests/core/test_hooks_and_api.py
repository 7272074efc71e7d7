"""The eight hooks, publish and subscribe in the program itself."""

from disk import Disk
from harness import VERSIONS, World, raises
from port.core.wire.codec import CONNECT, PUBREC, SUBACK, SUBSCRIBE, UNSUBSCRIBE
from port.core.wire.properties import SESSION_EXPIRY_INTERVAL, USER_PROPERTY
from port.core.wire.reason_codes import MQTTError
from port.core.messages.message import Message
from port.core.monitor.hooks import EVENTS
from port.core.storage.store import Store


# -- hooks that look -------------------------------------------------------------------------


def test_every_event_is_reported():
    disk = Disk(manual=True)
    world = World(store=disk)
    disk.complete()
    seen: "list[tuple[object, ...]]" = []
    on = world.broker.on
    on("connect", lambda client: seen.append(("connect", client.client_id)))
    on("disconnect", lambda client, reason: seen.append(("disconnect", client.client_id, reason)))
    on("subscribe", lambda client, f, options: seen.append(("subscribe", client.client_id, f, options)))
    on("unsubscribe", lambda client, f: seen.append(("unsubscribe", client.client_id, f)))
    on("process_message", lambda client, m: seen.append(("process_message", client.client_id, m.topic, m.payload)))
    on("message", lambda client, m: seen.append(("message", client.client_id, m.topic, m.payload)))
    on("error", lambda client, error: seen.append(("error", client.client_id, error.code)))
    on("storage", lambda client, error: seen.append(("storage", client, str(error))))
    client = world.connect("c")
    client.subscribe("a/#", qos=1, identifier=3)
    client.publish("a/b", "x", 1)
    client.inbox.clear()
    client.unacked.clear()
    client.unsubscribe("nothing", code=0x11)
    client.unsubscribe("a/#")
    client.publish("r", "x", retain=True)
    disk.complete(OSError("disk full"))
    client.feed(b"\x00\x00")
    assert seen == [
        ("connect", b"c"),
        ("subscribe", b"c", b"a/#", 1 | 3 << 8),
        ("process_message", b"c", "a/b", b"x"),
        ("message", b"c", "a/b", b"x"),
        ("unsubscribe", b"c", b"a/#"),
        ("process_message", b"c", "r", b"x"),
        ("message", b"c", "r", b"x"),
        ("storage", None, "disk full"),
        ("error", b"c", 0x82),
        ("disconnect", b"c", 0x82),
    ]


def test_the_disconnect_hook_is_told_why():
    world = World()
    codes = []
    world.broker.on("disconnect", lambda client, reason: codes.append(reason))
    world.connect("c").disconnect()
    world.connect("c").disconnect(0x04)
    world.connect("c").lose()
    world.connect("c")
    world.connect("c").disconnect()
    silent = world.connect("c", keep_alive=1)
    world.advance(5000)
    assert silent.closed
    refused = world.client()
    refused.connect("c", properties={0x15: b"unknown"})  # was never accepted
    world.connect("c")
    world.broker.disconnect_all()
    assert codes == [0, 0x04, 0x80, 0x8E, 0, 0x8D, 0x8B]


def test_hooks_come_and_go():
    world = World()
    seen = []
    hook = lambda client, message: seen.append(message.payload)  # noqa: E731
    watcher = world.connect("w", 4)
    watcher.subscribe("t")
    publisher = world.connect("p", 4)
    publisher.publish("t", "1")  # now its route is on the fast path
    world.broker.on("message", hook)
    publisher.publish("t", "2")
    world.broker.off("message", hook)
    publisher.publish("t", "3")
    assert seen == [b"2"]
    assert watcher.payloads() == [b"1", b"2", b"3"]
    # Of two, the other one stays.
    world.broker.on("message", hook)
    world.broker.on("message", fail)
    world.broker.off("message", fail)
    publisher.publish("t", "4")
    assert seen == [b"2", b"4"]
    world.broker.off("message", hook)
    raises(ValueError, world.broker.off, "message", hook)
    raises(ValueError, world.broker.on, "nonsense", hook)
    assert len(EVENTS) == 8


def test_hooks_are_called_in_order_and_each_sees_what_the_one_before_made():
    world = World()

    def add(letter):
        return lambda client, message: Message(message.name, message.payload + letter)

    for event, letter in (("message", b"3"), ("process_message", b"1"), ("message", b"4"), ("process_message", b"2")):
        world.broker.on(event, add(letter))
    client = world.connect("c")
    client.subscribe("t")
    client.publish("t", "0")
    client.expect_message("t", "01234")


# -- hooks that step in -----------------------------------------------------------------------


def test_a_hook_may_drop_a_message():
    for event in ("process_message", "message"):
        for version in VERSIONS:
            world = World()
            world.broker.on(event, lambda client, message: False if message.payload == b"bad" else None)
            client = world.connect("c", version)
            client.subscribe("t", qos=2)
            for qos in (0, 1, 2):
                client.publish("t", "bad", qos, retain=True)  # acknowledged all the same
                client.publish("t", "good", qos)
                client.expect_message("t", "good", qos=qos)
                client.expect_nothing()
            assert world.broker.retained.count == 0


def test_a_hook_may_change_a_message():
    for event in ("process_message", "message"):
        world = World()
        world.broker.on(event, lambda client, m: Message(b"new/" + m.name, m.payload.upper(), 2, m.retain))
        watcher = world.connect("w")
        watcher.subscribe("new/#", qos=2)
        watcher.subscribe("t")
        client = world.connect("c")
        client.publish("t", "loud", 1, retain=True)
        watcher.expect_message("new/t", "LOUD", qos=2)
        watcher.expect_nothing()
        assert [record[:2] for record in world.broker.retained.matching(b"#")] == [(b"new/t", b"LOUD")]


def test_a_hook_may_change_a_message_in_place():
    # The packet it came in must not be what goes out.
    for event in ("process_message", "message"):
        for version in VERSIONS:
            world = World()

            def change(client, message):
                message.payload += b"!"

            world.broker.on(event, change)
            client = world.connect("c", version)
            client.subscribe("t", qos=2)
            for qos in (0, 1, 2):
                client.publish("t", "x", qos)
                client.expect_message("t", "x!", qos=qos)


def test_a_hook_may_redirect_a_message():
    world = World()

    def redirect(client, message):
        message.clients = [b"b", b"nobody"]

    world.broker.on("message", redirect)
    clients = [world.connect(name) for name in "abc"]
    for client in clients[:2]:
        client.subscribe("t")
    clients[2].publish("t", "x")
    clients[1].expect_message("t", "x")
    clients[0].expect_nothing()
    # Who does not subscribe gets nothing.
    clients[1].unsubscribe("t")
    clients[2].publish("t", "x")
    clients[1].expect_nothing()


def test_a_hook_may_refuse_a_subscription():
    for answer, code in ((0x87, 0x87), (0x8F, 0x8F), (True, 0x87), ("no", 0x87), (5, 0x87), (None, 0)):
        world = World()
        world.broker.on("subscribe", lambda client, f, options: answer)
        client = world.connect("c")
        client.subscribe("t", code=code)
        old = world.connect("old", 4)
        old.subscribe("t", code=0x80 if code else 0)
        assert world.broker.router.subscriptions.count == (0 if code else 2)


def test_a_hook_may_disconnect_the_client_it_is_told_of():
    for version in VERSIONS:
        for event in ("connect", "subscribe", "unsubscribe", "process_message", "message"):
            for clean in (True, False):
                world = World()
                world.broker.publish("kept", "x", retain=True)
                before = world.broker.memory.kept()
                client = world.client(version)
                properties = {SESSION_EXPIRY_INTERVAL: 0 if clean else 100} if version == 5 else {}
                gone = []
                if event != "connect":
                    client = world.connect("c", version, clean_start=clean, properties=properties)
                    client.subscribe("kept", 1)
                    client.inbox.clear()

                def end(session, *args):
                    gone.append(world.broker.disconnect(session.client_id))

                world.broker.on(event, end)
                if event == "connect":
                    client.say(CONNECT, client_id=b"c", clean_start=clean, keep_alive=0, properties=properties)
                elif event == "subscribe":
                    client.say(SUBSCRIBE, packet_id=7, filters=[(b"other/+", 1), (b"$share/g/kept", 1), (b"#", 2)])
                elif event == "unsubscribe":
                    client.say(UNSUBSCRIBE, packet_id=7, filters=[b"kept", b"kept"])
                else:
                    client.send_publish("t", "x", 2, 5)
                world.see_off()
                where = (version, event, clean)
                assert gone == [True] and client.closed and not world.errors(), where
                world.broker.off(event, end)
                if clean:
                    assert not world.broker.sessions and world.broker.router.subscriptions.count == 0, where
                    assert world.broker.memory.kept() == before, where
                else:
                    client = world.connect("c", version, clean_start=False)
                    client.send_publish("t", "x", 2, 5)
                    client.expect(PUBREC, packet_id=5)


def test_a_hook_may_take_itself_away():
    world = World()
    told = []

    def once(session):
        told.append(1)
        world.broker.off("connect", once)
        world.broker.on("connect", later)

    def later(session):
        told.append(3)

    world.broker.on("connect", once)
    world.broker.on("connect", lambda session: told.append(2))
    world.connect("a")
    assert told == [1, 2]
    world.connect("b")
    assert told == [1, 2, 2, 3]


def test_a_hook_may_publish_and_subscribe():
    world = World()
    seen = []
    world.broker.subscribe("echo", lambda message: seen.append(message.payload))

    def echo(client, message):
        if message.topic == "t":
            world.broker.publish("echo", message.payload)

    world.broker.on("message", echo)
    world.broker.on("connect", lambda client: world.broker.publish("here", client.client_id))
    watcher = world.connect("w")
    watcher.subscribe("#")
    client = world.connect("c")
    watcher.expect_message("here", "c")
    client.publish("t", "x", 1)
    assert [packet["topic"] for packet in watcher.messages()] == [b"echo", b"t"]
    assert seen == [b"x"]


# -- hooks that fail ---------------------------------------------------------------------------


def fail(*args):
    raise KeyError("a hook's fault")


class Full(Store):
    """Has no room for anything."""

    on_failure = "degrade"

    def commit(self, batch, done):
        done(OSError("disk full"))


def test_a_hook_that_raises_hurts_nobody():
    for event in EVENTS:
        world = World(store=Full() if event == "storage" else None)
        world.broker.on(event, fail)
        client = world.connect("c", properties={SESSION_EXPIRY_INTERVAL: 10})
        client.say(SUBSCRIBE, packet_id=1, filters=[(b"t", 1)])
        client.expect(SUBACK, codes=b"\x80" if event == "subscribe" else b"\1")
        client.send_publish("t", "x", 1, retain=True)
        client.inbox.clear()
        client.unacked.clear()
        client.unsubscribe("t", code=0x11 if event == "subscribe" else 0)
        other = world.connect("o", will={"topic": b"will"})
        other.feed(b"\x00\x00")  # the error hook
        other = world.connect("o", keep_alive=1, will={"topic": b"will"})
        world.advance(5000)
        assert other.closed
        client.ping()
        client.disconnect()
        world.advance(20000)
        assert world.broker.sessions == {}, event
        assert not world.broker.connections
        assert world.errors() != [], event
        world.connect("last").ping()


def test_what_a_hook_raises_is_told_to_the_error_hook():
    world = World()
    errors = []
    world.broker.on("error", lambda client, error: errors.append(error))
    world.broker.on("message", fail)
    client = world.connect("c")
    client.subscribe("t")
    client.publish("t", "x", 1, retain=True)
    client.expect_nothing()  # a message hook that fails lets nothing pass
    assert [type(error) for error in errors] == [KeyError]
    assert world.broker.publish("t", "x") is False
    assert len(errors) == 2


def test_an_impossible_topic_made_by_a_hook():
    world = World()
    world.broker.on("process_message", lambda client, m: Message(b"a/#", m.payload) if m.topic == "will" else None)
    client = world.connect("c", keep_alive=1, will={"topic": b"will"})
    world.advance(5000)
    assert client.closed and world.session("c") is None
    world.connect("d").ping()


# -- the program itself ------------------------------------------------------------------------


def test_publish_from_the_program():
    world = World()
    client = world.connect("c")
    client.subscribe("t", qos=2)
    for qos in (0, 1, 2):
        assert world.broker.publish("t", "text", qos) is True
        client.expect_message("t", "text", qos=qos)
    user = {USER_PROPERTY: [(b"a", b"1"), (b"a", b"2")]}
    assert world.broker.publish(b"t", b"\x00\xff", properties=user) is True
    client.expect_message("t", b"\x00\xff", properties=user)
    assert world.broker.publish("nobody/there") is False
    client.expect_nothing()


def test_publish_from_the_program_checks_its_arguments():
    broker = World().broker
    for topic in ("", "a/+", "#", "a\0", b"\xff"):
        raises(ValueError, broker.publish, topic, "x")
    raises(ValueError, broker.publish, "t", "x", 3)
    raises(ValueError, broker.publish, "t", "x", 0, False, {0x7E: 1})


def test_subscribe_in_the_program():
    world = World()
    seen = []
    client = world.connect("c")
    client.publish("t/old", "retained", retain=True)
    handle = world.broker.subscribe("t/#", lambda m: seen.append((m.topic, m.payload, m.qos, m.retain)))
    assert seen == [("t/old", b"retained", 0, True)]
    client.publish("t/new", "live", 2)
    world.broker.publish("t", "own", 1)
    assert seen[1:] == [("t/new", b"live", 2, False), ("t", b"own", 1, False)]
    world.broker.unsubscribe(handle)
    world.broker.unsubscribe(handle)  # twice is once
    client.publish("t/new", "unheard")
    assert len(seen) == 3
    assert world.broker.router.subscriptions.count == 0
    for topic_filter in ("", "a/#/b", "a+", "$share/g/t"):
        raises(ValueError, world.broker.subscribe, topic_filter, print)


def test_the_program_sees_decoded_properties():
    world = World()
    seen = []
    world.broker.subscribe("t", lambda m: seen.append(m.decoded_properties()))
    properties = {0x03: b"text", USER_PROPERTY: [(b"b", b"1"), (b"a", b"2"), (b"b", b"1")]}
    world.connect("c").publish("t", "x", properties=properties)
    assert seen == [properties]


def test_a_callback_that_raises_hurts_nobody():
    world = World()
    seen = []
    world.broker.subscribe("t", fail)
    world.broker.subscribe("t", lambda m: seen.append(m.payload))
    client = world.connect("c")
    client.subscribe("t", qos=1)
    client.publish("t", "x", 1)
    client.expect_message("t", "x", qos=1)
    assert seen == [b"x"]
    assert len(world.errors()) == 1


def test_disconnecting_a_client_from_the_program():
    world = World()
    client = world.connect("c")
    assert world.broker.disconnect("c") is True
    client.expect_close(0x98)
    assert world.broker.disconnect("c") is False
    assert world.broker.disconnect(b"nobody") is False


def test_errors_of_clients_are_not_errors_of_the_broker():
    world = World()
    errors = []
    world.broker.on("error", lambda client, error: errors.append(error))
    for data in (b"\x00\x00", b"\xf0\x00", b"\x36\x00", b"\x30\xff\xff\xff\xff\x01"):
        world.connect("c").feed(data)
    assert len(errors) == 4 and all([isinstance(error, MQTTError) for error in errors])
    assert world.errors() == []


def test_a_hook_may_return_the_same_message_again_and_again():
    world = World()
    template = Message(b"x", b"")

    def hook(client, message):
        template.name = b"y"
        template.payload = message.payload
        return template

    world.broker.on("message", hook)
    receiver = world.connect("r")
    receiver.subscribe("y")
    sender = world.connect("s")
    for payload in (b"1", b"2", b"3"):
        sender.publish("a", payload)
    assert receiver.payloads() == [b"1", b"2", b"3"]


def test_who_subscribes_in_a_hook_gets_that_message():
    world = World()
    seen: "list[object]" = []

    def hook(client, message):
        if not seen:
            seen.append(world.broker.subscribe("a", lambda message: seen.append(message.payload)))

    world.broker.on("message", hook)
    sender = world.connect("s")
    sender.publish("a", b"1")
    sender.publish("a", b"2")
    assert seen[1:] == [b"1", b"2"]
