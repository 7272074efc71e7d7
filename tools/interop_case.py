"""One test of the Eclipse Paho interoperability suite, for tools/interop.

    interop_case.py FOLDER MODULE              print the names of the tests
    interop_case.py FOLDER MODULE TEST PORT    run one against the broker on this port
"""

import importlib
import sys
import time
import unittest

folder, name, *rest = sys.argv[1:]
sys.path.insert(0, folder)
module = importlib.import_module(name)

if not rest:
    print("\n".join(unittest.TestLoader().getTestCaseNames(module.Test)))
    sys.exit()



def patient(subscribe):
    """subscribe() that gives the broker time; two tests publish on another connection without waiting for SUBACK."""

    def subscribe_and_wait(*arguments, **options):
        result = subscribe(*arguments, **options)
        time.sleep(0.05)
        return result

    return subscribe_and_wait


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
