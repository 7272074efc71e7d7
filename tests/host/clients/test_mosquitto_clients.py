"""mosquitto_pub, mosquitto_sub and mosquitto_rr with both brokers."""

import subprocess

import pytest

from drivers import TIMEOUT
from drivers.paho import Paho

VERSIONS = ["mqttv31", "mqttv311", "mqttv5"]
LINE = "%t %q %r %p"
READY = "ready"  # topic of a retained message, by which a mosquitto_sub shows that it has subscribed


class Subscriber:
    """A mosquitto_sub that has subscribed."""

    def __init__(self, command, form):
        self._process = subprocess.Popen([*command, "-F", form], stdout=subprocess.PIPE, text=True)
        self.receive()

    def receive(self):
        """The next message as `form` prints it."""
        line = self._process.stdout.readline()
        assert line, "mosquitto_sub ended with exit status %d" % self._process.wait(TIMEOUT)
        return line.rstrip("\n")

    def kill(self):
        self._process.kill()
        self._process.wait(TIMEOUT)
        self._process.stdout.close()


@pytest.fixture(scope="module", autouse=True)
def ready(broker):
    client = Paho(broker.port, "ready", 4)
    client.publish(READY, b"x", 1, retain=True)
    client.disconnect()


@pytest.fixture(params=VERSIONS)
def version(request):
    return request.param


@pytest.fixture
def publish(tool, broker, version):
    """Run mosquitto_pub with these arguments."""
    program = tool("mosquitto_pub")

    def publish(*arguments):
        subprocess.run([program, "-V", version, "-p", str(broker.port), *arguments], check=True, timeout=TIMEOUT)

    return publish


@pytest.fixture
def subscribe(tool, broker, version):
    """Start mosquitto_sub with these arguments."""
    program = tool("mosquitto_sub")
    started = []

    def subscribe(*arguments, form=LINE):
        # -W: it never outlives the test by much.
        command = [program, "-V", version, "-p", str(broker.port), "-W", "60", "-t", READY, *arguments]
        started.append(Subscriber(command, form))
        return started[-1]

    yield subscribe
    for subscriber in started:
        subscriber.kill()


def test_every_qos(publish, subscribe, version):
    subscriber = subscribe("-t", version + "/+", "-q", "2")
    for qos in ("0", "1", "2"):
        publish("-t", version + "/a", "-q", qos, "-m", "to " + qos)
        assert subscriber.receive() == "%s/a %s 0 to %s" % (version, qos, qos)


def test_retained(publish, subscribe, version):
    topic = "retained/" + version
    publish("-t", topic, "-q", "1", "-r", "-m", "kept")
    assert subscribe("-t", topic, "-q", "1").receive() == topic + " 1 1 kept"
    publish("-t", topic, "-r", "-n")
    publish("-t", topic + "/other", "-q", "1", "-r", "-m", "other")
    assert subscribe("-t", topic + "/#").receive() == topic + "/other 0 1 other"
    publish("-t", topic + "/other", "-r", "-n")


def test_will(subscribe, version):
    watcher = subscribe("-t", "will/" + version, "-q", "1")
    victim = subscribe("-t", "x", "--will-topic", "will/" + version, "--will-payload", "gone", "--will-qos", "1")
    victim.kill()
    assert watcher.receive() == "will/%s 1 0 gone" % version


def test_persistent_session(tool, publish, subscribe, broker, version):
    topic = "session/" + version
    session = ["-i", "s" + version, "-c", "-t", topic, "-q", "1"]
    if version == "mqttv5":
        session += ["-x", "60"]
    # -E: leave as soon as subscribed.
    subprocess.run([tool("mosquitto_sub"), "-V", version, "-p", str(broker.port), "-E", *session],
                   check=True, timeout=TIMEOUT)  # fmt: skip
    for n in range(5):
        publish("-t", topic, "-q", "1", "-m", str(n))
    command = [tool("mosquitto_sub"), "-V", version, "-p", str(broker.port), "-W", "30", "-C", "5", *session]
    done = subprocess.run(command, check=True, timeout=TIMEOUT, capture_output=True, text=True)
    assert done.stdout.split() == ["0", "1", "2", "3", "4"]


def test_large_payload(publish, subscribe, broker, version, tmp_path):
    size = 256 * 1024 if broker.runtime == "cpython" else 8000
    file = tmp_path / "payload"
    file.write_text("x" * size)
    subscriber = subscribe("-t", "large", "-q", "1")
    publish("-t", "large", "-q", "1", "-f", str(file))
    assert subscriber.receive() == "large 1 0 " + "x" * size


def test_shared_subscription(publish, subscribe, version):
    topic = "shared/" + version
    members = [subscribe("-t", "$share/group/" + topic, "-t", topic + "/end", "-q", "1") for _ in range(2)]
    for n in range(10):
        publish("-t", topic, "-q", "1", "-m", str(n))
    publish("-t", topic + "/end", "-q", "1", "-m", "end")
    received = [list(iter(lambda m=member: m.receive().split()[-1], "end")) for member in members]
    assert all(received)
    assert sorted(received[0] + received[1]) == [str(n) for n in range(10)]


@pytest.mark.parametrize("version", ["mqttv5"], indirect=True)
def test_properties(publish, subscribe):
    subscriber = subscribe("-t", "properties", "-q", "1", form="%C|%R|%D|%F|%P|%p")
    publish("-t", "properties", "-q", "1", "-m", "x", "-D", "publish", "content-type", "text/plain",
            "-D", "publish", "response-topic", "answer", "-D", "publish", "correlation-data", "id",
            "-D", "publish", "payload-format-indicator", "1", "-D", "publish", "user-property", "b", "1",
            "-D", "publish", "user-property", "a", "2", "-D", "publish", "user-property", "b", "3")  # fmt: skip
    assert subscriber.receive() == "text/plain|answer|id|1|b:1 a:2 b:3|x"


@pytest.mark.parametrize("version", ["mqttv311", "mqttv5"], indirect=True)
def test_request_and_response(tool, broker, version):
    responder = Paho(broker.port, "responder", 5)
    responder.subscribe("request", 1)
    requester = subprocess.Popen(
        [tool("mosquitto_rr"), "-V", version, "-p", str(broker.port), "-W", "30", "-q", "1", "-t", "request",
         "-e", "response/1", "-m", "what?", "-F", "%t %D %p", *CORRELATION[version]],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    request = responder.receive()
    assert request.payload == b"what?"
    assert request.properties.get("response_topic", "response/1") == "response/1"
    correlation = {name: value for name, value in request.properties.items() if name == "correlation_data"}
    responder.publish("response/1", b"that!", 1, properties=correlation)
    responder.disconnect()
    answer, _ = requester.communicate(timeout=TIMEOUT)
    assert answer == {"mqttv311": "response/1  that!\n", "mqttv5": "response/1 r1 that!\n"}[version]


CORRELATION = {"mqttv311": [], "mqttv5": ["-D", "publish", "correlation-data", "r1"]}
