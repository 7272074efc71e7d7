"""Tests with a broker: the fixture `mqtt_broker`, which pytest finds by itself, and a fixture of one's own.

    pip install . pytest paho-mqtt
    pytest port/examples/test_with_a_broker.py
"""

import pytest
from paho.mqtt import MQTTException, publish
from ucomqtt.testing import broker


def report(port, temperature, auth=None):
    """The program that is tested: a thermometer that sends one reading."""
    publish.single("sensors/kitchen", temperature, qos=1, retain=True, port=port, client_id="thermometer", auth=auth)


def test_a_reading_arrives(mqtt_broker):
    report(mqtt_broker.port, "21.5")
    message = mqtt_broker.wait_for("sensors/#")
    assert (message.topic, message.text, message.retain) == ("sensors/kitchen", "21.5", True)


def test_a_lost_reading_is_followed_by_another(mqtt_broker):
    with mqtt_broker.drop("sensors/#") as fault:  # acknowledged, but not delivered
        report(mqtt_broker.port, "21.5")
    report(mqtt_broker.port, "22.0")
    assert fault.count == 1 and mqtt_broker.wait_for("sensors/kitchen").text == "22.0"


@pytest.fixture(scope="module")
def home():
    """One broker for all tests of this file, with a user and a rule."""
    with broker(users={"alice": "secret"}, acl=[{"topic": "sensors/#"}]) as started:
        yield started


def test_a_reading_with_a_password(home):
    report(home.port, "21.5", {"username": "alice", "password": "secret"})
    assert home.wait_for("sensors/kitchen").client_id == "thermometer"


def test_a_wrong_password_is_refused(home):
    with pytest.raises(MQTTException):
        report(home.port, "21.5", {"username": "alice", "password": "guessed"})
