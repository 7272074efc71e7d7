"""The client libraries that the tests drive, all behind the same few methods.

    client = Paho(port, "sensor", 5, persistent=True, will=("state", b"gone", 1))
    client.session_present
    client.subscribe("a/+", 1)            # the granted QoS, or the reason code of a refusal
    client.publish("a/b", b"1", 1, properties={"content_type": "text/plain"})    # returns when acknowledged
    client.receive()                      # the next Message
    client.disconnect()                   # with a DISCONNECT
    client.kill()                         # without one
    client.freeze(), client.thaw()        # the program hangs, its socket stays open
    client.closed()                       # waits for the end; reason code of the DISCONNECT received, or None

Properties: user (list of pairs), content_type, response_topic, correlation_data, subscription_identifier.
"""

import queue
from dataclasses import dataclass, field
from typing import Any

TIMEOUT = 15.0  # seconds until what should happen counts as not happening
SESSION_EXPIRY = 300


@dataclass
class Message:
    topic: str
    payload: bytes
    qos: int
    retain: bool
    properties: dict[str, Any] = field(default_factory=dict)


class Driver:
    """What all drivers share."""

    session_present: bool

    def __init__(self, version: int) -> None:
        self.version = version
        self.messages: queue.Queue[Message] = queue.Queue()
        self.ended: queue.Queue[int | None] = queue.Queue()

    def receive(self) -> Message:
        return self.messages.get(timeout=TIMEOUT)

    def closed(self) -> int | None:
        return self.ended.get(timeout=TIMEOUT)
