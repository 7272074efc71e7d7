"""ucomqtt.testing: a broker for the tests of other programs, and its fixture for pytest; README's examples of it."""

import asyncio
import re
import subprocess
import sys
import threading
from typing import Any

import aiomqtt
import pytest

from certificates import certificates  # noqa: F401
from drivers import TIMEOUT
from drivers.paho import Paho
from toolchain import ROOT
from ucomqtt.testing import Message, broker


def test_what_came_in_is_recorded():
    with broker() as b:
        client = Paho(b.port, "thermometer", 5)
        assert b.clients == ["thermometer"] and b.url == f"mqtt://127.0.0.1:{b.port}"
        client.publish("sensors/kitchen", b"21.5", 1, retain=True, properties={"content_type": "text/plain"})
        client.publish("sensors/cellar", b"\xff", 2)
        client.disconnect()
        first, second = b.messages
        assert first == Message("sensors/kitchen", b"21.5", 1, True, "thermometer", {3: b"text/plain"}) and first.text == "21.5"
        assert second[:5] == ("sensors/cellar", b"\xff", 2, False, "thermometer")
        assert b.wait_for("sensors/+") == first and b.wait_for("sensors/cellar") == second
        with pytest.raises(TimeoutError, match=r"no message on sensors/# in 0.1 s; there came sensors/cellar, sensors/kitchen"):
            b.wait_for("sensors/#", timeout=0.1)  # each one once
        b.clear()
        assert b.messages == []


def test_a_message_is_waited_for():
    with broker() as b:
        client = Paho(b.port, "c", 4)
        timer = threading.Timer(0.05, client.publish, ("late", b"x", 0))
        timer.start()
        assert b.wait_for("late").payload == b"x"
        timer.join()
        client.disconnect()


def test_it_publishes():
    with broker() as b:
        client = Paho(b.port, "c", 5)
        client.subscribe("a/#", 1)
        b.publish("a/b", "x", qos=1, retain=True, properties={3: b"text"})
        message = client.receive()
        assert (message.topic, message.payload, message.qos) == ("a/b", b"x", 1)
        client.disconnect()
        assert b.messages == []


def test_wills_and_many_brokers():
    with broker() as one, broker() as other:
        assert one.port != other.port
        client = Paho(one.port, "mortal", 5, will=("will", b"gone", 1))
        assert one.disconnect("mortal", cut=True) and not other.disconnect("mortal") and not one.disconnect("nobody")
        found = one.wait_for("will")
        assert (found.payload, found.client_id) == (b"gone", "mortal") and one.clients == [] == other.messages
        client.disconnect()


def test_options_users_and_rules():
    with broker(users={"alice": "secret"}, acl=[{"topic": "mine/#"}], max_qos=1, max_packet_size=500) as b:
        for user, password in ((None, None), ("alice", "wrong"), ("bob", "secret")):
            with pytest.raises(AssertionError):
                Paho(b.port, "c", 5, user=user, password=password)
        client = Paho(b.port, "c", 5, user="alice", password="secret")
        assert client.connack["MaximumQoS"] == 1 and client.connack["MaximumPacketSize"] == 500
        client.publish("others", b"x", 1)
        client.publish("mine/x", b"x", 1)
        client.disconnect()
        assert [message.topic for message in b.messages] == ["mine/x"]
    with pytest.raises(ValueError, match="unknown option max_qs"), broker(max_qs=1):
        pass
    with pytest.raises(ValueError, match="type"), broker(listener={"type": "tpc"}):
        pass


def test_wrong_arguments():
    wrong: Any = broker
    for values, text in (
        ({"users": "alice"}, "users are a dict of names and passwords"),
        ({"users": [("alice", "secret")]}, "users are a dict of names and passwords"),
        ({"users": {"alice": b"secret"}}, "names and passwords of users are str, not 'alice' and bytes"),
        ({"users": {b"alice": "secret"}}, "names and passwords of users are str, not b'alice' and str"),
        ({"listener": "websocket"}, "listener is a dict with keys of"),
        ({"acl": {"topic": "a"}}, "acl is a list of rules"),
        ({"acl": 5}, "acl is a list of rules"),
    ):
        with pytest.raises(TypeError, match=text):
            wrong(**values)
    with broker() as b:
        found: Any = b
        for call in (b.wait_for, b.drop, lambda topic: b.delay(1, topic)):
            for topic in ("a/#/b", "", "a+"):
                with pytest.raises(ValueError, match="no topic and no topic filter: '%s'" % re.escape(topic)):
                    call(topic)
        with pytest.raises(TypeError, match="a topic or topic filter is a str, not b'a'"):
            found.wait_for(b"a")
        with pytest.raises(ValueError, match="no topic and no topic filter: 'a/#/b'"):
            asyncio.run(b.wait_for_async("a/#/b"))


def test_ipv6():
    with broker(listener={"host": "::1"}) as b:
        assert b.url == f"mqtt://[::1]:{b.port}"


def test_every_user_name_is_believed():
    with broker(acl=[{"user": "alice", "topic": "a"}]) as b:
        Paho(b.port, "c", 5, user="alice", password="whatever").publish("a", b"x", 1)
        Paho(b.port, "d", 5).publish("a", b"y", 1)
        assert [message.payload for message in b.messages] == [b"x"]


def test_other_listeners(tmp_path, certificates):  # noqa: F811
    made = certificates()
    tls = {"certificate": made.server, "key": made.key}
    for listener, url in (
        ({"type": "websocket"}, "ws://127.0.0.1:"),
        ({"type": "websocket", "tls": tls}, "wss://"),
        ({"tls": tls}, "mqtts://"),
    ):
        with broker(listener=listener) as b:
            assert b.url.startswith(url)
            authority = ["--cafile", made.ca] if "tls" in listener else []
            done = subprocess.run(
                [sys.executable, "-m", "ucomqtt", "pub", "-L", b.url, "-t", "a", "-m", "x", "-q", "1", *authority],
                capture_output=True,
                text=True,
                timeout=TIMEOUT,
            )
            assert done.returncode == 0, done.stderr
            assert b.wait_for("a").payload == b"x"
    with broker(listener={"type": "unix", "file": str(tmp_path / "socket")}) as b:
        assert b.host == str(tmp_path / "socket")


# -- faults ---------------------------------------------------------------------------------------


def test_drop():
    with broker() as b:
        one, two = Paho(b.port, "one", 5), Paho(b.port, "two", 4)
        one.subscribe("#", 1)
        with b.drop("a/+") as topics, b.drop(client_id="two") as client:
            one.publish("a/b", b"1", 1)  # they are acknowledged
            one.publish("b", b"2", 1)
            two.publish("b", b"3", 2)
        two.publish("a/b", b"4", 1)
        assert (topics.count, client.count) == (1, 1)
        assert [one.receive().payload, one.receive().payload] == [b"2", b"4"]
        assert [message.payload for message in b.messages] == [b"2", b"4"]
        one.disconnect()
        two.disconnect()


def test_delay():
    with broker() as b:
        client = Paho(b.port, "c", 5)
        client.subscribe("#", 1)
        fault = b.delay(0.1, "slow")
        client.publish("slow", b"1", 1, retain=True, properties={"content_type": "text"})
        client.publish("fast", b"2", 1)
        fault.stop()
        fault.stop()
        client.publish("slow", b"3", 1)
        assert [client.receive().payload for _ in range(3)] == [b"2", b"3", b"1"]
        slow = b.messages[-1]
        assert slow == Message("slow", b"1", 1, True, "c", {3: b"text"}) and fault.count == 1
        client.disconnect()


def test_a_client_does_not_get_its_own_delayed_message_with_no_local():
    with broker() as b:
        one, two = Paho(b.port, "one", 5), Paho(b.port, "two", 5)
        for client in (one, two):
            client.subscribe("a", 1, no_local=True)
        with b.delay(0.05, "a"):
            one.publish("a", b"1", 1)
            assert b.wait_for("a").client_id == "one" and two.receive().payload == b"1"
        two.publish("a", b"2", 1)
        assert one.receive().payload == b"2"  # and nothing before
        one.disconnect()
        two.disconnect()


def test_refuse_and_delay_connect():
    with broker() as b:
        with b.refuse(0x89, client_id="one") as fault:
            with pytest.raises(AssertionError, match="Server busy"):
                Paho(b.port, "one", 5)
            Paho(b.port, "two", 5).disconnect()
        assert fault.count == 1
        with b.refuse(), pytest.raises(AssertionError):
            Paho(b.port, "one", 4)
        with b.delay_connect(0.1) as fault:
            client = Paho(b.port, "one", 5, user="alice")
        assert fault.count == 1 and b.clients == ["one"]
        client.disconnect()
        with pytest.raises(ValueError, match="from 0x80 to 0xFF, not 0"):
            b.refuse(0)


def test_disconnect():
    with broker() as b:
        client = Paho(b.port, "c", 5)
        assert b.disconnect("c", 0x8B)
        assert client.closed() == 0x8B
        client.disconnect()


# -- event loops ------------------------------------------------------------------------------------


async def test_in_the_event_loop():
    async with broker(max_qos=1) as b, aiomqtt.Client(b.host, b.port, identifier="lamp") as client:
        assert b.clients == ["lamp"]
        await client.subscribe("lamp/set", 1)
        b.publish("lamp/set", "on")
        await client.publish("lamp/state", "on", 1)
        assert (await b.wait_for("lamp/state")).text == "on"
        waiting = asyncio.gather(b.wait_for("one"), b.wait_for("two"))
        await asyncio.sleep(0)
        await client.publish("two", "2")
        await client.publish("one", "1")
        assert [message.text for message in await waiting] == ["1", "2"]
        with pytest.raises(TimeoutError, match="no message on nothing in 0.05 s; there came lamp/state, one, two"):
            await b.wait_for("nothing", timeout=0.05)
        assert b.disconnect("lamp", cut=True)


async def test_a_thread_beside_an_event_loop():
    with broker() as b:
        async with aiomqtt.Client(b.host, b.port) as client:
            waiting = asyncio.create_task(b.wait_for_async("a"))
            await asyncio.sleep(0)
            await client.publish("a", "x")
            assert (await waiting).text == "x"


def test_it_is_used_in_a_with():
    b = broker()
    with b as running:
        port = running.port
    with b as again:  # another one
        assert again.port and again.messages == [] and port


# -- pytest -----------------------------------------------------------------------------------------

PLUGIN = """
import aiomqtt, pytest
from ucomqtt.testing import Broker

def test_plain(mqtt_broker):
    assert isinstance(mqtt_broker, Broker) and mqtt_broker.port

@pytest.mark.mqtt_broker(max_qos=0)
def test_marked(mqtt_broker):
    assert mqtt_broker.server.options.max_qos == 0

async def talk(broker):
    async with aiomqtt.Client(broker.host, broker.port) as client:
        await client.publish("a", "x")
        assert (await broker.wait_for_async("a")).text == "x"

@pytest.mark.asyncio
async def test_asyncio(mqtt_broker):
    await talk(mqtt_broker)

@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_anyio(mqtt_broker, anyio_backend):
    await talk(mqtt_broker)
"""


def examples():
    """README's tests, by the names of their files."""
    text = "".join((ROOT / file).read_text(encoding="utf-8") for file in ("port/public/README.md",))
    return dict(re.findall(r"^```python\n# (test_\w+\.py)\n(.*?)^```", text, re.MULTILINE | re.DOTALL))


def test_the_plugin_and_the_examples(tmp_path):
    """One run beside pytest-asyncio, anyio and pytest-xdist."""
    found = {**examples(), "test_plugin.py": PLUGIN}
    assert set(found) == {"test_paho.py", "test_aiomqtt.py", "test_gmqtt.py", "test_plugin.py"}
    for name, text in found.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\nasyncio_default_fixture_loop_scope = function\n")
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=4 * TIMEOUT)
    assert done.returncode == 0 and "9 passed" in done.stdout, done.stdout + done.stderr


def test_the_plugin_costs_nothing_until_it_is_used(tmp_path):
    """A program that has the package installed does not load the broker with each run of pytest."""
    (tmp_path / "test_it.py").write_text(
        "import sys\ndef test_it():\n    assert not any(name.startswith('port') for name in sys.modules)\n"
    )
    (tmp_path / "port.py").write_text("")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:asyncio", "test_it.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=2 * TIMEOUT)
    assert done.returncode == 0, done.stdout + done.stderr
