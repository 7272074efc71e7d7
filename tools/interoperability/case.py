"""One test of the Eclipse Paho interoperability suite, for tools/interop.

    case.py FOLDER MODULE                        print the names of the tests
    case.py FOLDER MODULE TEST PORT [patient]    run one against the broker on this port
"""

import importlib
import sys
import time
import unittest
from collections.abc import Callable
from typing import Any

folder, name, *rest = sys.argv[1:]
sys.path.insert(0, folder)
module = importlib.import_module(name)

if not rest:
    names = list(unittest.TestLoader().getTestCaseNames(module.Test))
    # A test like the others, but for its name.
    names += [n for n in ("will_message_test",) if hasattr(module.Test, n)]
    print("\n".join(names))
    sys.exit()


def patient(subscribe: Callable[..., Any]) -> Callable[..., Any]:
    """subscribe() that gives the broker time.

    Two tests publish on one connection right after they subscribed on another, without waiting for SUBACK. When
    both packets are there before the broker wakes up, MicroPython's poll() tells nothing of their order.
    """

    def subscribe_and_wait(*arguments: Any, **options: Any) -> Any:
        result = subscribe(*arguments, **options)
        time.sleep(0.05)
        return result

    return subscribe_and_wait


if "patient" in rest:
    module.mqtt_client.Client.subscribe = patient(module.mqtt_client.Client.subscribe)
# What the module's own main sets.
prefix = "client_test5/" if name == "client_test5" else ""
vars(module).update(
    host="127.0.0.1",
    port=int(rest[1]),
    topic_prefix=prefix,
    topics=[prefix + topic for topic in ("TopicA", "TopicA/B", "Topic/C", "TopicA/C", "/TopicA")],
    wildtopics=[prefix + topic for topic in ("TopicA/+", "+/C", "#", "/#", "/+", "+/+", "TopicA/#")],
    nosubscribe_topics=("test/nosubscribe",),
)
suite = unittest.TestSuite([module.Test(rest[0])])
sys.exit(not unittest.TextTestRunner(stream=sys.stdout).run(suite).wasSuccessful())
