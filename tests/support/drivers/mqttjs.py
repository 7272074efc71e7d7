"""MQTT.js, in a node process that may hold many clients."""

import base64
import itertools
import json
import queue
import signal
import subprocess
import threading
from pathlib import Path

from drivers import SESSION_EXPIRY, TIMEOUT, Driver, Message

SCRIPT = Path(__file__).parent.parent / "programs" / "mqttjs_client.js"
NAMES = {
    "user": "userProperties",
    "content_type": "contentType",
    "response_topic": "responseTopic",
    "correlation_data": "correlationData",
    "subscription_identifier": "subscriptionIdentifier",
}


class Node:
    """A node process that does what it is told in lines of JSON, and tells what happens in such lines."""

    def __init__(self, node):
        self._process = subprocess.Popen(
            [node, str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._numbers = itertools.count(1)
        self._answers: dict[int, queue.Queue] = {}
        self.clients: dict[int, MqttJs] = {}
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        for line in self._process.stdout:
            told = json.loads(line)
            if "answer" in told:
                self._answers.pop(told["answer"]).put(told)
            else:
                self.clients[told["client"]].happened(told)

    def number(self):
        return next(self._numbers)

    def ask(self, **what):
        """Have something done; what came of it."""
        number = self.number()
        answer: queue.Queue = queue.Queue()
        self._answers[number] = answer
        self._process.stdin.write(json.dumps({"number": number, **what}) + "\n")
        self._process.stdin.flush()
        told = answer.get(timeout=TIMEOUT)
        assert "error" not in told, told["error"]
        return told.get("result")

    def signal(self, number):
        self._process.send_signal(number)

    def close(self):
        self._process.stdin.close()
        self._process.wait(TIMEOUT)
        self._thread.join(TIMEOUT)
        self._process.stdout.close()


class MqttJs(Driver):
    node: Node  # set by the fixture that started it

    def __init__(self, port, client_id, version, *, persistent=False, keep_alive=60, will=None):
        super().__init__(version)
        self._number = self.node.number()
        self.node.clients[self._number] = self
        options = {
            "port": port, "clientId": client_id, "protocolVersion": version, "clean": not persistent,
            "keepalive": keep_alive, "protocolId": "MQIsdp" if version == 3 else "MQTT",
        }  # fmt: skip
        if version == 5:
            options["properties"] = {"sessionExpiryInterval": SESSION_EXPIRY if persistent else 0}
        if will:
            options["will"] = {"topic": will[0], "payload": will[1].decode(), "qos": will[2]}
        self.session_present = self._ask("connect", options=options)["sessionPresent"]

    def _ask(self, what, **arguments):
        return self.node.ask(do=what, client=self._number, **arguments)

    def happened(self, told):
        if told["event"] == "closed":
            self.ended.put(told.get("code"))
            return
        properties = {ours: told["properties"][theirs] for ours, theirs in NAMES.items() if theirs in told["properties"]}
        if "correlation_data" in properties:
            properties["correlation_data"] = base64.b64decode(properties["correlation_data"])
        identifiers = properties.get("subscription_identifier")
        if isinstance(identifiers, int):
            properties["subscription_identifier"] = [identifiers]
        # It groups user properties by name, which is all there is to see of their order.
        if "user" in properties:
            properties["user"] = [
                (name, value)
                for name, values in properties["user"].items()
                for value in (values if isinstance(values, list) else [values])
            ]
        payload = base64.b64decode(told["payload"])
        self.messages.put(Message(told["topic"], payload, told["qos"], told["retain"], properties))

    def subscribe(self, topic_filter, qos=0, identifier=None):
        return self._ask("subscribe", filter=topic_filter, qos=qos, identifier=identifier)

    def unsubscribe(self, topic_filter):
        self._ask("unsubscribe", filter=topic_filter)

    def publish(self, topic, payload, qos=0, retain=False, properties=None):
        theirs = {NAMES[name]: value for name, value in (properties or {}).items()}
        if "userProperties" in theirs:
            grouped: dict[str, list[str]] = {}
            for name, value in theirs["userProperties"]:
                grouped.setdefault(name, []).append(value)
            theirs["userProperties"] = grouped
        if "correlationData" in theirs:
            theirs["correlationData"] = base64.b64encode(theirs["correlationData"]).decode()
        self._ask("publish", topic=topic, payload=base64.b64encode(payload).decode(), qos=qos, retain=retain,
                  properties=theirs)  # fmt: skip

    def disconnect(self):
        self._ask("disconnect")

    def kill(self):
        self._ask("kill")

    def freeze(self):
        """Freezes all clients of the process."""
        self.node.signal(signal.SIGSTOP)

    def thaw(self):
        self.node.signal(signal.SIGCONT)
