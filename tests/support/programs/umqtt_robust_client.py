"""A client that behaves like umqtt.robust: after any error it connects again with its old session and goes on.

Argument: the broker's port. Prints what it receives, and publishes each message it got to `robust/echo`.
"""

import sys
import time

from umqtt_simple_client import SimpleClient


class RobustClient(SimpleClient):
    def reconnect(self):
        while True:
            try:
                return super().connect(False)
            except OSError:
                time.sleep_ms(100)

    def publish(self, topic, payload, retain=False, qos=0):
        while True:
            try:
                return super().publish(topic, payload, retain, qos)
            except OSError:
                self.reconnect()

    def wait_msg(self):
        while True:
            try:
                return super().wait_msg()
            except OSError:
                self.reconnect()


def main(port):
    got = []
    client = RobustClient(b"robust", port, 60, lambda topic, payload, retained: got.append(payload))
    if not client.connect(False):
        client.subscribe(b"robust/in", 1)
    print("ready")
    while b"end" not in got:
        client.wait_msg()
        while got and got[0] != b"end":
            payload = got.pop(0)
            if payload == b"break":
                client.sock.close()  # the next publish finds the socket broken
            client.publish(b"robust/echo", payload, qos=1)
    client.disconnect()
    print("done")


main(int(sys.argv[1]))
