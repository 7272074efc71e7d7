"""Types of listeners: their keys in a configuration, and the methods by which a host opens them.

    class Serial(ListenerType):
        KEYS = {"device": (str, "/dev/ttyS0")}
        PLACE = "device"

        async def open(self): ...

A type is registered by name, see port.core.config.registry. The four that both runtimes know are described here; their
sockets are the hosts'.
"""

from port.core import const
from port.core.limits.ip_address import is_loopback, text

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Iterable, Sequence

    from port.core.limits.listener import Listener
    from port.core.config.listener_config import ListenerConfig
    from port.core.broker import Broker

    Addresses = list[tuple[str, int]]
    # hosts, paths, origins, writers, max_body, body_timeout, idle_timeout: see Http.
    PagesSettings = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[bytes, ...], int, int, int]

# Keys of all listeners that are for the code that serves sockets.
SOCKET_KEYS = ("tls", "proxy_protocol", "trusted_proxies")


class ListenerType:
    """Base class. The class describes the configuration; an object of it is one listener, opened at the start of the server.

    KEYS      keys of its own: name -> (type as in check_type, or None if `check` checks the value; default, or
              None if `check` decides it)
    WITHOUT   keys of all listeners that this type does not take
    PLACE     "port" with host and port, or the key of its own that names its place
    NETWORK   kind of its port, tcp or udp: two listeners cannot have the same port of a kind
    PORTS     default ports without and with TLS
    CALLED    names of the type in other brokers -> whether they mean TLS

    server    the Server
    config    as configured
    listener  the core's Listener, an argument of `accept_connection` and `serve_stream`
    """

    KEYS: "dict[str, tuple[Any, Any]]" = {}
    WITHOUT: "tuple[str, ...]" = SOCKET_KEYS
    PLACE = "port"
    NETWORK = "tcp"
    PORTS = (1883, 8883)
    CALLED: "dict[str, bool]" = {}

    tls: "Any" = None  # the context of further handshakes

    def __init__(self, server: "Any", config: "ListenerConfig", listener: "Listener") -> None:
        """Opens nothing yet. Raises ValueError naming the fault."""
        self.server = server
        self.config = config
        self.listener = listener

    @classmethod
    def make(cls, server: "Any", config: "ListenerConfig", listener: "Listener", tls: "Any" = None) -> "Any":
        """A listener as configured; `tls`: a program's own SSLContext in place of the configured one."""
        return cls(server, config, listener)

    @classmethod
    def check(cls, config: "ListenerConfig") -> None:
        """Check `config.settings`, the values of KEYS, and complete them. Raises ValueError naming a wrong key."""

    @classmethod
    def remote(cls, config: "ListenerConfig") -> bool:
        """Whether clients on other machines can connect."""
        return cls.PLACE == "port" and config.host != "localhost" and not is_loopback(text(config.host, 0))

    @classmethod
    def obstacles(cls, config: "ListenerConfig") -> "Iterable[str]":
        """Obstacles on this machine to opening it, a text each; called before the start, opens nothing."""
        return ()

    @classmethod
    def begin(cls, broker: "Broker") -> None:
        """Prepare the broker for a listener of this type, which is being added."""

    @property
    def addresses(self) -> "Addresses":
        """Hosts and ports it listens on; (name, 0) without a port."""
        config = self.config
        return [(config.host, config.port) if self.PLACE == "port" else (config.place(), 0)]

    def open(self) -> "Any":
        """Begin to listen; may be async. Raises OSError naming its place."""

    def close(self) -> "Any":
        """Stop listening, without ending its clients; may be async."""

    def prepare(self, config: "ListenerConfig") -> "Any":
        """Read the files of another configuration; may run in a thread. Raises ValueError, with nothing changed."""
        return config

    def change(self, prepared: "Any") -> None:
        """Apply the result of `prepare`, except the place. Must not raise: an exception is logged, and the reload goes on."""
        self.config = prepared


class Tcp(ListenerType):
    """MQTT over TCP."""

    WITHOUT: "tuple[str, ...]" = ()
    CALLED = {"mqtt": False, "mqtts": True, "tls": True, "ssl": True}


class _Web(ListenerType):
    """Listeners whose clients begin with a request of HTTP.

    paths: paths of URLs that serve MQTT over WebSocket, types websocket and http only (default ["/mqtt", "/"]; of type http ["/mqtt"], or none with auth or anonymous of its own; ["*"]: any)
    origins: web pages that may connect by WebSocket, types websocket and http only (default: those of the requested host and port, if that is an address or localhost; ["*"]: all)
    """

    WITHOUT: "tuple[str, ...]" = ()

    @classmethod
    def check(cls, config: "ListenerConfig") -> None:
        """See ListenerType.check."""
        _check_paths(config)


def _check_paths(config: "ListenerConfig") -> None:
    for path in config.settings["paths"]:
        if path != "*" and not path.startswith("/"):
            raise ValueError("paths must begin with / or be *, not %r" % path)


class WebSocket(_Web):
    """MQTT over WebSocket."""

    KEYS = {"paths": ((str,), ("/mqtt", "/")), "origins": ((str,), ())}
    PORTS = (8083, 8084)
    CALLED = {"ws": False, "websockets": False, "wss": True}


class Unix(ListenerType):
    """MQTT over a Unix socket.

    file: the socket's file, type unix only
    mode: the socket file's access rights in octal, type unix only (default 660)
    """

    KEYS = {"file": (str, ""), "mode": (None, "660")}
    WITHOUT: "tuple[str, ...]" = ()
    PLACE = "file"
    PORTS = (0, 0)

    @classmethod
    def check(cls, config: "ListenerConfig") -> None:
        """See ListenerType.check."""
        mode = config.settings["mode"]
        if not isinstance(mode, str):
            raise ValueError('mode must be a string of octal digits such as "660", not %r' % (mode,))
        if not config.settings["file"]:
            raise ValueError("a listener of type unix needs a file")
        for c in mode or "-":
            if c not in "01234567":
                raise ValueError("mode must be octal digits such as 660, not %r" % mode)


class Http(_Web):
    """Pages /, /healthz and /metrics, a program's own pages, and MQTT over WebSocket.

    hosts: names by which the pages are asked for, type http only, beside addresses, localhost and the machine's own name (["*"]: any)
    writers: users with the role write, type http only; other users have the role read; * at the end stands for any end, "" for clients without a user name (default ["*"])
    max_body: bytes that the body of a request may have, type http only; a longer body gets 413 (default 0: a quarter of max_packet_size)
    body_timeout: seconds within which the body of a request has to arrive, type http only (default 30)
    idle_timeout: seconds after which an HTTP connection without a request is closed, type http only (default 60)
    """

    KEYS = {
        "paths": ((str,), None), "origins": ((str,), ()), "hosts": ((str,), ()), "writers": ((str,), ("*",)), "max_body": (int, 0),
        "body_timeout": (int, 30), "idle_timeout": (int, 60),
    }  # fmt: skip
    WITHOUT: "tuple[str, ...]" = ("mount_point",)
    PORTS = (8080, 8443)
    CALLED = {"https": True}

    @classmethod
    def check(cls, config: "ListenerConfig") -> None:
        """See ListenerType.check."""
        settings = config.settings
        if settings["paths"] is None:
            # A listener that lets in other clients to its pages is not meant to let these use MQTT.
            own = config.auth is not None or "anonymous" in config.overrides
            settings["paths"] = () if own else ("/mqtt",)
        _check_paths(config)
        if settings["max_body"] < 0:
            raise ValueError("max_body must be 0 or more, not %d" % settings["max_body"])
        for key in ("body_timeout", "idle_timeout"):
            if settings[key] < 1:
                raise ValueError("%s must be 1 or more, not %d" % (key, settings[key]))

    @classmethod
    def pages(cls, config: "ListenerConfig", names: "Sequence[str]") -> "PagesSettings":
        """The settings for port.core.web.site.Site, on a machine with these names."""
        settings = config.settings
        hosts = tuple([name.lower() for name in settings["hosts"]]) + tuple(names)
        writers = tuple([name.encode() for name in settings["writers"]])
        return (
            hosts, settings["paths"], settings["origins"], writers, settings["max_body"], settings["body_timeout"],
            settings["idle_timeout"],
        )  # fmt: skip

    @classmethod
    def begin(cls, broker: "Broker") -> None:
        """See ListenerType.begin: /metrics has figures that are counted from now on."""
        if broker.counters.measures is None:
            from port.core.monitor.measures import Measures

            broker.counters.measures = Measures()
