"""A configuration from a nested dict: what is taken, what is refused and with which words."""

from harness import World, raises
from port.core import TYPE_CHECKING
from port.core.limits.listener import described
from port.core.limits.options import Options
from port.core.auth.allow_deny import AllowAll, DenyAll
from port.core.auth.authenticator import Authenticator
from port.core.config.apply_config import begin, changed_listeners, make_authenticator, prepare, reconfigure
from port.core.config.config import Config
from port.core.config.listener_config import ListenerConfig, add_listener, describe, new_listener
from port.core.config.listener_types import ListenerType, Unix
from port.core.config.registry import LISTENERS, STORES, Registry
from port.core.config.store_config import StoreConfig, make_store
from port.core.storage.store import Store
from port.core.broker import Broker

if TYPE_CHECKING:
    from typing import Any

FULL = {
    "max_sessions": 50,
    "max_packet_size": 5000,
    "auth": [{"type": "allow"}, {"type": "deny", "name": "last"}],
    "listener": [
        {"host": "0.0.0.0", "max_connections": 3, "auth": ["last"]},
        {"type": "websocket", "paths": ["/mqtt", "/"], "origins": ["https://example.org"]},
        {"type": "websocket", "tls": {"certificate": "c", "key": "k"}, "id": "wss"},
        {"type": "http", "port": 8081, "acl": [{"topic": "a"}]},
        {"host": "::1"},
    ],
    "acl": [{"topic": "home/%u/#"}, {"topic": "#", "allow": False}],
    "client_limits": [{"user": "slow*", "max_message_rate": 5}, {"client_id": "big", "max_packet_size": 100000}],
}


def test_a_full_configuration():
    config = Config(FULL)
    assert config.options.max_sessions == 50
    assert [(entry.id, entry.place()) for entry in config.listeners] == [
        ("tcp", "0.0.0.0:1883"), ("websocket", "127.0.0.1:8083"), ("wss", "127.0.0.1:8084"),
        ("http", "127.0.0.1:8081"), ("tcp5", "[::1]:1883"),
    ]  # fmt: skip
    first, web = config.listeners[0], config.listeners[1]
    assert first.overrides == {"max_connections": 3} and first.auth == ["last"]
    assert web.settings == {"paths": ("/mqtt", "/"), "origins": ("https://example.org",)} and web.auth is None
    assert len(config.listeners[3].rules or ()) == 1
    assert [entry["name"] for entry in config.auth] == ["allow", "last"]
    assert len(config.rules or ()) == 2
    assert config.client_limits[0] == (b"slow*", None, {"max_message_rate": 5})


def test_a_unix_socket():
    if LISTENERS.load("unix") is not Unix:
        return  # a board's firmware refuses it
    config = ListenerConfig({"type": "unix", "file": "/run/mqtt", "mode": "600"})
    assert config.place() == "/run/mqtt" and config.settings == {"file": "/run/mqtt", "mode": "600"}
    for values, text in (
        ({"type": "unix"}, "listener unix: a listener of type unix needs a file"),
        ({"type": "unix", "file": "x", "mode": "rw"}, "listener unix: mode must be octal digits such as 660, not 'rw'"),
    ):
        assert str(raises(ValueError, ListenerConfig, values)) == text


def test_the_default_listener():
    for values, places in (
        ({}, ["127.0.0.1:1883"]),
        ({"port": 1884}, ["127.0.0.1:1884"]),
        ({"host": "0.0.0.0"}, ["0.0.0.0:1883"]),
        ({"listener": [{"port": 5}]}, ["127.0.0.1:5"]),
        ({"listener": [{"port": 5}], "port": 6}, ["127.0.0.1:6", "127.0.0.1:5"]),
    ):
        assert [entry.place() for entry in Config(values).listeners] == places
    assert Config({}).listeners[0].id == "default"


def test_what_is_wrong_is_named():
    for values, text in (
        ({"max_sesions": 5}, "unknown option max_sesions, did you mean max_sessions?"),
        ({"max_sessions": "5"}, "max_sessions must be a whole number, not '5'"),
        ({"max_queued": 5}, "unknown option max_queued, did you mean max_queued_messages?"),
        ({"MAX_QOS": 5}, "unknown option MAX_QOS, did you mean max_qos?"),
        ({"bridge": []}, "unknown option bridge"),
        ({"listeners": []}, "unknown option listeners, did you mean listener?"),
        ({"listener": {}}, "listener must be a list of tables, not {}"),
        ({"listener": [5]}, "listener must be a list of tables, not [5]"),
        ({"listener": [{"type": "udp"}]}, "listener udp: type must be one of http, tcp, unix, websocket, not 'udp'"),
        ({"listener": [{"porrt": 5}]}, "listener tcp: unknown key porrt, did you mean port?"),
        ({"listener": [{"id": "a", "port": "5"}]}, "listener a: port must be a whole number, not '5'"),
        ({"listener": [{"port": True}]}, "listener tcp: port must be a whole number, not True"),
        ({"listener": [{"port": 65536}]}, "listener tcp: port must be from 0 to 65535, not 65536"),
        ({"listener": [{"id": "a/b"}]}, "listener a/b: id must not be empty or contain / + #"),
        ({"listener": [{"id": "a"}, {"id": "a"}]}, "listener a: there are two with this id"),
        ({"listener": [{"file": "x"}]}, "listener tcp: file is for type unix only"),
        ({"listener": [{"paths": ["/"]}]}, "listener tcp: paths is for type websocket or http only"),
        ({"listener": [{"max_sessions": 5}]}, "listener tcp: max_sessions holds for the whole broker, set it there"),
        ({"listener": [{"max_qos": 3}]}, "listener tcp: max_qos must be from 0 to 2, not 3"),
        ({"listener": [{"auth": ["user"]}], "auth": [{"type": "allow", "name": "users"}]},
         "listener tcp: unknown auth user, did you mean users?"),
        ({"listener": [{"auth": ["user"]}]}, "listener tcp: unknown auth user, there is none"),
        ({"listener": [{"acl": [{"topic": "a"}, {}]}]}, "listener tcp, rule 2: an ACL rule needs a topic"),
        ({"acl": [{"topic": "a#"}]}, "acl, rule 1: topic in an ACL rule must be a topic filter, not 'a#'"),
        ({"acl": [{"topic": "home/%x/#"}]}, "acl, rule 1: %x in the topic of an ACL rule stands for nothing, there are %u and %c"),
        ({"auth": [{"name": "x"}]}, "auth, entry 1: type is missing"),
        ({"auth": [{"type": 5}]}, "auth, entry 1: type must be a string, not 5"),
        ({"auth": [{"type": "allow"}, {"type": "allow"}]}, "auth, entry 2: there are two with the name allow"),
        ({"auth": [{"type": "allow", "name": "a#"}]}, "auth, entry 1: name must be a string without / + #, not 'a#'"),
        ({"client_limits": [{"max_qos": 1}]}, "client_limits, entry 1: user or client_id is needed"),
        ({"client_limits": [{"user": 5}]}, "client_limits, entry 1: user must be a string, not 5"),
        ({"client_limits": [{"user": "a", "max_qs": 1}]}, "client_limits, entry 1: unknown key max_qs, did you mean max_qos?"),
        ({"client_limits": [{"user": "a", "max_qos": 9}]}, "client_limits, entry 1: max_qos must be from 0 to 2, not 9"),
        ({"acl_file": 5}, "acl_file must be a string, not 5"),
        ({"store": []}, "store must be a table, not []"),
    ):  # fmt: skip
        assert str(raises(ValueError, Config, values)) == text


class Shelf(Store):
    def __init__(self, folder="/store", interval=60):
        if interval < 1:
            raise ValueError("interval must be at least 1, not %r" % interval)
        self.folder = folder
        self.interval = interval


def with_registered(registry, name, made_by, test):
    """Run `test` while a type is registered."""
    others = registry.others
    registry.also(lambda: [(name, lambda: made_by)])
    try:
        return test()
    finally:
        registry.also(others)


def test_the_store():
    assert Config({}).store is None and make_store(None) is None
    empty: "Any" = Config({"store": {}}).store
    assert empty.type == "memory" and empty.settings == {} and make_store(empty) is None

    def test():
        found: "Any" = Config({"store": {"type": "shelf", "folder": "/x", "interval": 5}}).store
        assert found.type == "shelf" and found.settings == {"folder": "/x", "interval": 5}
        made: "Any" = make_store(found)
        assert isinstance(made, Shelf) and made.folder == "/x" and made.interval == 5
        cases: "Any" = (
            ({"interval": 0}, "store: interval must be at least 1, not 0"),
            ({"interval": "x"}, "store: type shelf: TypeError"),
            ({"foldr": "x"}, "store: type shelf: TypeError"),
        )
        for settings, text in cases:
            settings["type"] = "shelf"
            assert str(raises(ValueError, make_store, Config({"store": settings}).store)).startswith(text)
        for kind in ("shelff", ["shelf"], ""):
            text = str(raises(ValueError, Config, {"store": {"type": kind}}))
            assert text.startswith("store: type must be one of memory, ") and text.endswith("shelf, not %r" % (kind,))
        assert "type memory has none" in str(raises(ValueError, make_store, Config({"store": {"folder": "/x"}}).store))

    with_registered(STORES, "shelf", Shelf, test)
    assert "shelf" not in STORES.names()
    with_registered(STORES, "shelf", lambda **settings: 5, lambda: raises(ValueError, make_store, StoreConfig({"type": "shelf"})))


class Careless(ListenerType):
    KEYS = {"device": (str, "")}
    PLACE = "device"

    @classmethod
    def check(cls, config):
        if config.settings["device"] == "bad":
            raise KeyError("secret")

    def prepare(self, config):
        raise KeyError("secret")


def careless():
    raise KeyError("secret")


def test_errors_of_a_listener_type_name_it():
    def test():
        assert str(raises(ValueError, ListenerConfig, {"type": "careless", "device": "bad"})) == "listener careless: type careless: KeyError"
        entry = ListenerConfig({"type": "careless"})
        nothing: "Any" = None
        error = raises(ValueError, prepare, Careless(nothing, entry, nothing), entry)
        assert str(error) == "listener careless: type careless: KeyError"

    def unloadable():
        assert str(raises(ValueError, ListenerConfig, {"type": "careless"})) == "type careless: KeyError"
        assert "unknown key devise" in str(raises(ValueError, ListenerConfig, {"devise": "x"}))
        assert "not 'tpc'" in str(raises(ValueError, ListenerConfig, {"type": "tpc"}))

    with_registered(LISTENERS, "careless", Careless, test)
    LISTENERS.add("careless", careless)
    try:
        unloadable()
    finally:
        LISTENERS._own.pop()


def test_authenticators_by_type():
    class Special(Authenticator):
        def __init__(self, settings):
            self.settings = settings
            if "bad" in settings:
                raise ValueError("bad is bad")
            if "worse" in settings:
                raise KeyError("worse")

    def missing():
        raise ImportError("no module named 'special'")

    types = Registry()
    types.add("allow", lambda: AllowAll)
    types.add("missing", missing)
    types.add("special", lambda: Special)
    made: "Any" = make_authenticator({"name": "x", "type": "special", "a": 1}, types)
    assert made.settings == {"a": 1} and made.name == "x"
    for entry, text in (
        ({"name": "x", "type": "specal"}, "auth x: unknown type specal, did you mean special?"),
        ({"name": "x", "type": "special", "bad": 1}, "auth x: bad is bad"),
        ({"name": "x", "type": "allow", "file": "f"}, "auth x: unknown key file, type allow has none"),
    ):
        assert str(raises(ValueError, make_authenticator, entry, types)) == text
    types.add("broken", careless)
    for kind in ("special", "broken"):  # the text of foreign exceptions may hold a secret
        error = raises(ValueError, make_authenticator, {"name": "x", "type": kind, "worse": 1}, types)
        assert str(error) == "auth x: type %s: KeyError" % kind
    assert "special" in str(raises(ImportError, make_authenticator, {"name": "x", "type": "missing"}, types))


def test_a_type_is_loaded_when_it_is_asked_for():
    loaded = []

    def load():
        loaded.append(1)
        return AllowAll

    types = Registry()
    types.add("a", load)
    types.also(lambda: [("a", missing), ("b", load)])
    assert types.names() == ["a", "b"] and not loaded
    assert types.load("a") is AllowAll and types.load("b") is AllowAll and loaded == [1, 1]
    types.add("a", lambda: DenyAll)
    assert types.names() == ["a", "b"] and types.load("a") is DenyAll
    assert str(raises(ValueError, types.load, "c")) == "unknown type c, did you mean a?"


def missing():
    raise ImportError("this must not be loaded")


class Serial(ListenerType):
    KEYS = {"device": (str, "/dev/ttyS0"), "speeds": ((int,), (9600,))}
    PLACE = "device"
    PORTS = (0, 0)
    CALLED = {"rs232": False}

    @classmethod
    def check(cls, config):
        if not config.settings["device"].startswith("/"):
            raise ValueError("device must begin with /, not %r" % config.settings["device"])


class Entered(Broker):
    """A broker with what a host has for its listeners."""

    def __init__(self):
        super().__init__()
        self.entrances: "list[Any]" = []


def test_a_type_of_listener_of_somebody_else():
    def test():
        found = ListenerConfig({"type": "serial", "speeds": [1], "max_qos": 1})
        assert found.settings == {"device": "/dev/ttyS0", "speeds": (1,)} and found.place() == "/dev/ttyS0"
        assert found.overrides == {"max_qos": 1} and not found.kind.remote(found)
        broker = Entered()
        listener = add_listener(broker, found, [])
        opened = broker.entrances[0]
        assert isinstance(opened, Serial) and opened.listener is listener and listener.kind == "serial"
        assert opened.addresses == [("/dev/ttyS0", 0)]
        assert described([opened]) == ["listener serial (serial): listening on /dev/ttyS0"]
        assert changed_listeners(broker, Config({"listener": [{"type": "serial"}]}))[0][0] is opened
        raises(ValueError, changed_listeners, broker, Config({"listener": [{"type": "tcp", "id": "serial"}]}))
        wrong: "Any" = (
            ({"device": "x"}, "listener serial: device must begin with /, not 'x'"),
            ({"device": 5}, "listener serial: device must be a string, not 5"),
            ({"devise": "/x"}, "listener serial: unknown key devise, did you mean device?"),
            ({"paths": ["/"]}, "listener serial: paths is for type websocket or http only"),
            ({"proxy_protocol": True}, "listener serial: proxy_protocol is for type tcp or websocket or unix or http only"),
            ({"type": "tcp", "device": "/x"}, "listener tcp: device is for type serial only"),
            ({"type": "rs232"}, "listener rs232: type must be one of http, serial, tcp, unix, websocket, not 'rs232', which is serial"),
        )
        for values, text in wrong:
            values.setdefault("type", "serial")
            assert str(raises(ValueError, ListenerConfig, values)) == text

    with_registered(LISTENERS, "serial", Serial, test)


def test_a_listener_that_cannot_be_made_is_not_there():
    class Never(ListenerType):
        def __init__(self, server, config, listener):
            raise ValueError("not here")

    def test():
        broker = Entered()
        raises(ValueError, add_listener, broker, ListenerConfig({"type": "never"}), [])
        assert broker.entrances == [] and broker.listeners == []

    with_registered(LISTENERS, "never", Never, test)


def test_who_can_connect():
    for values, remote in (
        ({}, False), ({"host": "localhost"}, False), ({"host": "::1"}, False), ({"host": "0.0.0.0"}, True), ({"host": "::"}, True),
        ({"host": "example.org"}, True), ({"type": "http", "host": "10.0.0.1"}, True),
    ):  # fmt: skip
        config = ListenerConfig(values)
        assert config.kind.remote(config) == remote


def configured(values):
    """A world with this configuration, and its listeners by id."""
    world = World()
    config = Config(values)
    made = [make_authenticator(entry) for entry in config.auth]
    begin(world.broker, config)
    listeners = {entry.id: new_listener(world.broker, entry, made) for entry in config.listeners}
    return world, listeners


def test_a_running_broker_takes_over_another_configuration():
    before = {"listener": [{"id": "a", "max_qos": 1}, {"id": "b"}], "sys_interval": 0, "max_subscriptions": 10}
    world, listeners = configured(before)
    a = world.connect("a", listener=listeners["a"])
    b = world.connect("b", listener=listeners["b"])
    a.subscribe("x/#", qos=1)
    b.subscribe("x/#")
    after = {
        "listener": [{"id": "a", "max_packet_size": 200}, {"id": "b", "auth": []}],
        "auth": [{"type": "allow"}],
        "max_subscriptions": 1,
        "acl": [{"topic": "x/#"}],
        "client_limits": [{"client_id": "b", "max_subscriptions": 2}],
        "sys_interval": 0,
    }
    config = Config(after)
    reconfigure(world.broker, config, [make_authenticator(entry) for entry in config.auth])
    # On listener a there is somebody now to ask, and this client was never asked.
    a.expect_close(0x87)
    b.subscribe("x/y")
    b.subscribe("y", code=0x97)
    b.publish("x/1", "still here")
    assert [packet["payload"] for packet in b.messages()] == [b"still here"]
    again = world.connect("a", user=b"somebody", listener=listeners["a"])
    assert listeners["a"].options.max_qos == 2 and listeners["a"].options.max_packet_size == 200
    again.subscribe("x/1", qos=2)
    again.subscribe("z", code=0x97)


def test_no_listener_is_lost_that_is_not_mentioned_any_more():
    world, listeners = configured({"listener": [{"id": "a"}, {"id": "b"}]})
    client = world.connect("c", listener=listeners["a"])
    reconfigure(world.broker, Config({"listener": [{"id": "b"}], "max_qos": 1}), [AllowAll()])
    client.publish("a", qos=1, code=0x10)
    assert listeners["a"].options.max_qos == 1


def test_an_empty_list_of_rules_denies_everything():
    for values, allowed in (
        ({}, True),
        ({"acl": []}, False),
        ({"acl": [{"topic": "#"}]}, True),
        ({"listener": [{"id": "default", "acl": []}]}, False),
        ({"acl": [], "listener": [{"id": "default", "acl": [{"topic": "#"}]}]}, True),
        ({"acl": [{"topic": "#"}], "listener": [{"id": "default", "acl": []}]}, False),
    ):  # fmt: skip
        for reloaded in (False, True):
            world, listeners = configured({"listener": [{"id": "default"}]} if reloaded else values)
            if reloaded:
                early = world.connect("e", listener=listeners["default"])
                early.subscribe("a")
                reconfigure(world.broker, Config(values), [])
                if allowed:
                    early.ping()
                else:
                    early.expect_close(0x87)
            client = world.connect("c", listener=listeners["default"])
            client.subscribe("a", code=0 if allowed else 0x87)
            client.publish("b", qos=1, code=0x10 if allowed else 0x87)
            if reloaded:  # and back: the key is not there any more
                reconfigure(world.broker, Config({"listener": [{"id": "default"}]}), [])
                client.subscribe("a")


def test_a_program_that_gives_an_empty_list_of_rules():
    for acl, allowed in ((None, True), ([], False), ([{"topic": "#"}], True)):
        world = World()
        listener = new_listener(world.broker, describe(world.broker, "", 1883, "tcp", None, acl, {}), [])
        client = world.connect("c", listener=listener)
        client.subscribe("a", code=0 if allowed else 0x87)
        world.broker.set_acl([])
        world.broker.rights_changed()
        other = world.connect("d")
        other.subscribe("a", code=0x87)
        if acl is None:
            client.expect_close(0x87)
        world.broker.set_acl(None)
        world.broker.rights_changed()
        other.subscribe("a")


def test_options_can_be_copied_and_changed_in_place():
    options = Options(max_qos=1)
    other = options.changed({"max_sessions": 7})
    assert (other.max_qos, other.max_sessions) == (1, 7) and options.max_sessions != 7
    options.assign(other)
    assert options.values() == other.values()
    assert ListenerConfig({"max_qos": 0}).overrides == {"max_qos": 0}
