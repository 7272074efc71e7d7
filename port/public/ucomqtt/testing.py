"""A broker for the tests of programs that speak MQTT: up in milliseconds, with what came in, and with faults on demand.

    with broker() as b:                         # in a thread of its own, for tests with or without an event loop
        run_my_program("--mqtt", b.url)
        assert b.wait_for("sensors/#").payload == b"21.5"

    async with broker() as b:                   # in the test's own event loop
        await my_program(b.host, b.port)
        assert (await b.wait_for("sensors/#")).payload == b"21.5"

`broker(users={"alice": "secret"}, acl=[{"topic": "home/#"}], max_qos=1)`: users and passwords, rules as in [[acl]], and any
option of the broker by its name; `listener` has keys of its [[listener]], such as {"type": "websocket"}. Unless `users` are given
everybody may connect, with any user name. For pytest there is the fixture `mqtt_broker`, see ucomqtt.pytest_plugin.

Faults last until they are stopped, or to the end of a `with`; each counts what it has hit:

    with b.drop("sensors/#") as fault: ...      # messages are acknowledged, and reach nobody
    fault = b.delay(0.5, client_id="slow")      # messages of this client arrive later
    b.refuse(0x88)                              # no client is let in: server unavailable
    b.delay_connect(1)                          # the broker takes its time to let clients in
    b.disconnect("thermometer")                 # now; cut=True: without a word, as when the network fails
"""

from __future__ import annotations

import asyncio
import hmac
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

from ucomqtt import Authenticator, Message as _Message, Server  # first: it says so where something hides the package port
from port.core.wire.topics import valid_filter
from port.core.limits.ip_address import text as _place

__all__ = ["AsyncBroker", "Broker", "Fault", "Message", "broker"]

TIMEOUT = 5.0  # s that is waited for a message unless told otherwise
_START = 10.0  # s
_SUCCESS, _BAD_PASSWORD, _PENDING = 0, 0x86, -1
_SCHEMES = {("tcp", False): "mqtt", ("tcp", True): "mqtts", ("websocket", False): "ws", ("websocket", True): "wss"}

T = TypeVar("T")


class Message(NamedTuple):
    """A message that a client has published, or its will.

    topic       str
    payload     bytes
    qos         as published
    retain      whether it was published with RETAIN
    client_id   whose it is
    properties  those of MQTT 5 by their identifiers, as ucomqtt.Message.decoded_properties gives them
    """

    topic: str
    payload: bytes
    qos: int
    retain: bool
    client_id: str
    properties: Mapping[int, Any]

    @property
    def text(self) -> str:
        """The payload as str."""
        return self.payload.decode()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Fault:
    """Something that goes wrong until it is stopped. `count`: messages or clients it has hit."""

    def __init__(self, stop: Callable[[Fault], None], topic: str | None, client_id: str | None) -> None:
        self.count = 0
        self._stop = stop
        self._topic = topic
        self._client_id = client_id

    def stop(self) -> None:
        """End it; once more does nothing."""
        self._stop(self)

    def hits(self, client_id: str, topic: str | None = None) -> bool:
        """Whether it is about this client and topic; then it counts."""
        about = self._client_id in (None, client_id) and (
            self._topic is None or topic is not None and matches(self._topic, topic)
        )
        self.count += about
        return about

    def __enter__(self) -> Fault:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()


class _Drop(Fault):
    seconds: float | None = None


class _Delay(_Drop):
    seconds: float | None = 0.0


class _Refuse(Fault):
    code = 0x88


class _DelayConnect(Fault):
    seconds = 0.0


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a topic matches a topic filter."""
    filters, levels = topic_filter.split("/"), topic.split("/")
    if topic.startswith("$") and filters[0] in ("#", "+"):
        return False
    for number, level in enumerate(filters):
        if level == "#":
            return True
        if number >= len(levels) or level not in ("+", levels[number]):
            return False
    return len(filters) == len(levels)


def _checked(topic: str | None) -> str | None:
    """A topic filter, or None. Raises TypeError or ValueError for what no topic can match."""
    if topic is not None:
        if not isinstance(topic, str):
            raise TypeError("a topic or topic filter is a str, not %r" % (topic,))
        if not valid_filter(topic.encode(errors="surrogatepass")):
            raise ValueError("no topic and no topic filter: %r" % topic)
    return topic


class _Gate(Authenticator):
    """Says who may connect, and lets faults have their way."""

    name = "testing"

    def __init__(self, users: Mapping[str, str] | None, faults: list[Fault]) -> None:
        self._users = users
        self._faults = faults

    def authenticate(self, client: Any, user: bytes | None, password: bytes | None) -> int | None:
        """See Authenticator.authenticate."""
        client_id = client.client_id.decode()
        for fault in list(self._faults):
            if isinstance(fault, _Refuse) and fault.hits(client_id):
                return fault.code
        code = self._decide(user, password)
        seconds = max(
            (fault.seconds for fault in self._faults if isinstance(fault, _DelayConnect) and fault.hits(client_id)), default=0.0
        )
        if not seconds:
            return code
        asyncio.get_running_loop().call_later(seconds, client.authenticated, code)
        return _PENDING

    def _decide(self, user: bytes | None, password: bytes | None) -> int | None:
        if not user:
            return None  # as the option `anonymous` says
        if self._users is None:
            return _SUCCESS
        known = self._users.get(user.decode())
        right = known is not None and hmac.compare_digest(known.encode(), password or b"")
        return _SUCCESS if right else _BAD_PASSWORD


class _Base:
    """What both kinds of broker have.

    server  the broker itself, a ucomqtt.Server; its methods belong to the thread of its event loop
    host    where it listens
    port    and at which port
    url     the same as mqtt://HOST:PORT, or with mqtts, ws, wss
    """

    host = "127.0.0.1"
    port = 0
    url = ""

    def __init__(
        self,
        users: Mapping[str, str] | None,
        acl: Iterable[dict[str, Any]] | None,
        listener: Mapping[str, Any],
        options: dict[str, Any],
    ) -> None:
        options = {"sys_interval": 0, "anonymous": "all" if users is None else "none", **options}
        self.server = Server(**options)
        self._faults: list[Fault] = []
        self._gate = _Gate(users, self._faults)
        self._listener = dict(listener)
        self._acl = acl
        self._messages: list[Message] = []
        self._awaited: list[bool] = []  # which of them `wait_for` has returned
        self._clients: dict[str, Any] = {}
        self._changed = threading.Condition()
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread_id = 0

    # -- start and stop ---------------------------------------------------------------------------

    async def _start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        server = self.server
        keys = {"host": self.host, "port": 0, **self._listener}
        server.listen(keys.pop("host"), keys.pop("port"), auth=[self._gate], acl=self._acl, **keys)
        server.on("connect", self._came)
        server.on("process_message", self._process)
        server.on("message", self._record)
        await server.start()
        self.host, self.port = server.addresses[0]
        scheme = _SCHEMES.get((self._listener.get("type", "tcp"), self._listener.get("tls") is not None), "mqtt")
        self.url = "%s://%s" % (scheme, _place(self.host, self.port))

    async def _end(self) -> None:
        await self.server.stop()

    def _do(self, action: Callable[..., T], *arguments: Any) -> T:
        """Do something in the broker's event loop."""
        loop = self._loop
        if loop is None:
            raise RuntimeError("the broker has not been started: use it in a `with`")
        if threading.get_ident() == self._thread_id:
            return action(*arguments)
        done: Future[T] = Future()

        def call() -> None:
            try:
                done.set_result(action(*arguments))
            except BaseException as e:
                done.set_exception(e)

        loop.call_soon_threadsafe(call)
        return done.result(_START)

    # -- hooks ------------------------------------------------------------------------------------

    def _came(self, client: Any) -> None:
        self._clients[client.client_id.decode()] = client

    def _process(self, client: Any, message: Any) -> bool | None:
        name = client.client_id.decode()
        for fault in list(self._faults):
            if isinstance(fault, _Drop) and fault.hits(name, message.topic):
                if fault.seconds is not None:
                    asyncio.get_running_loop().call_later(fault.seconds, self._arrive, client, message)
                return False
        return None

    def _arrive(self, client: Any, message: _Message) -> None:
        """A message that was delayed arrives, from the client that sent it: with No Local it does not get it itself."""
        server = self.server
        sender = server.sessions.get(client.client_id, client)
        found = server.hooks.filter("message", sender, message)  # type: ignore[union-attr] # there are ours
        if found is not None and not found.expired(server.clock()):
            server.intake.distribute(found, server.router.resolve(found.name), sender)
            server.flush()

    def _record(self, client: Any, message: _Message) -> None:
        if client is not None:
            self._note(client.client_id.decode(), message)

    def _note(self, client_id: str, message: _Message) -> None:
        found = Message(
            message.topic, bytes(message.payload), message.qos, message.retain, client_id, message.decoded_properties()
        )  # fmt: skip
        with self._changed:
            self._messages.append(found)
            self._awaited.append(False)
            waiting, self._waiting = self._waiting, []
            self._changed.notify_all()
        for loop, future in waiting:
            if not loop.is_closed():
                loop.call_soon_threadsafe(_wake, future)

    # -- what came in -----------------------------------------------------------------------------

    @property
    def messages(self) -> list[Message]:
        """All that clients have published so far, but for what was dropped or refused, in their order."""
        with self._changed:
            return list(self._messages)

    def clear(self) -> None:
        """Forget what came in so far."""
        with self._changed:
            self._messages.clear()
            self._awaited.clear()

    @property
    def clients(self) -> list[str]:
        """The client ids of those that are connected."""
        return sorted(name for name, client in list(self._clients.items()) if client.conn is not None)

    def _take(self, topic: str) -> Message | None:
        """The first message that matches and was not taken; the lock is held."""
        for number, message in enumerate(self._messages):
            if not self._awaited[number] and matches(topic, message.topic):
                self._awaited[number] = True
                return message
        return None

    def _missing(self, topic: str, timeout: float) -> TimeoutError:
        came = sorted({message.topic for message in self.messages})
        return TimeoutError("no message on %s in %g s; there came %s" % (topic, timeout, ", ".join(came) or "none at all"))

    async def wait_for_async(self, topic: str, timeout: float = TIMEOUT) -> Message:
        """The next message on a topic, or one that matches a topic filter, each one once; what came before counts.

        Raises TimeoutError that says what came in its place, ValueError for what is no topic filter. For tests with an event
        loop, whatever kind of broker it is.
        """
        _checked(topic)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while True:
            with self._changed:
                found = self._take(topic)
                if found is not None:
                    return found
                future: asyncio.Future[None] = loop.create_future()
                self._waiting.append((loop, future))
            await asyncio.wait([future], timeout=max(0.0, deadline - loop.time()))
            if not future.done():
                raise self._missing(topic, timeout)

    # -- what goes out ------------------------------------------------------------------------------

    def publish(self, topic: str, payload: str | bytes = b"", qos: int = 0, retain: bool = False, **more: Any) -> None:
        """Publish a message to the clients, as ucomqtt.Server.publish does; it is not among `messages`."""
        self._do(lambda: self.server.publish(topic, payload, qos, retain, **more))

    # -- faults ---------------------------------------------------------------------------------------

    def _add(self, fault: Fault) -> Any:
        self._faults.append(fault)
        return fault

    def _remove(self, fault: Fault) -> None:
        if fault in self._faults:
            self._faults.remove(fault)

    def drop(self, topic: str | None = None, *, client_id: str | None = None) -> Fault:
        """Messages on a topic (filter), or of a client, are acknowledged and reach nobody; they are not recorded."""
        return self._add(_Drop(self._remove, _checked(topic), client_id))  # type: ignore[no-any-return]

    def delay(self, seconds: float, topic: str | None = None, *, client_id: str | None = None) -> Fault:
        """Messages on a topic (filter), or of a client, are acknowledged at once and arrive later."""
        fault = _Delay(self._remove, _checked(topic), client_id)
        fault.seconds = seconds
        return self._add(fault)  # type: ignore[no-any-return]

    def refuse(self, code: int = 0x88, *, client_id: str | None = None) -> Fault:
        """Clients, or one of them, are not let in; MQTT 3 clients are told what comes next to this reason code."""
        if not 0x80 <= code <= 0xFF:
            raise ValueError("the reason code of a refusal is from 0x80 to 0xFF, not %r" % code)
        fault = _Refuse(self._remove, None, client_id)
        fault.code = code
        return self._add(fault)  # type: ignore[no-any-return]

    def delay_connect(self, seconds: float, *, client_id: str | None = None) -> Fault:
        """Clients, or one of them, wait so long for the answer to their CONNECT."""
        fault = _DelayConnect(self._remove, None, client_id)
        fault.seconds = seconds
        return self._add(fault)  # type: ignore[no-any-return]

    def disconnect(self, client_id: str, code: int = 0x98, *, cut: bool = False) -> bool:
        """End a client's connection; False when it is not connected.

        MQTT 5 clients are told the reason code. `cut`: nobody is told anything, as when the network fails; its will goes out.
        """

        def end() -> bool:
            client = self._clients.get(client_id)
            if client is None or client.conn is None:
                return False
            if not cut:
                return self.server.disconnect(client_id, code)
            client.conn.transport.close(True, False)
            return True

        return self._do(end)


class Broker(_Base):
    """A broker in a thread of its own. Its methods may be called from any thread."""

    def wait_for(self, topic: str, timeout: float = TIMEOUT) -> Message:
        """The next message on a topic, or one that matches a topic filter, each one once; what came before counts.

        Raises TimeoutError that says what came in its place, ValueError for what is no topic filter. It keeps the thread it is
        called in waiting: where clients run in an event loop of this thread use `wait_for_async`.
        """
        _checked(topic)
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                found = self._take(topic)
                if found is not None:
                    return found
                left = deadline - time.monotonic()
                if left <= 0:
                    raise self._missing(topic, timeout)
                self._changed.wait(left)

    def _run(self, started: Future[None]) -> None:
        """The thread."""

        async def live() -> None:
            self._stopping = asyncio.Event()
            try:
                await self._start()
            except BaseException as e:
                started.set_exception(e)
                return
            started.set_result(None)
            await self._stopping.wait()
            await self._end()

        asyncio.run(live())

    def __enter__(self) -> Broker:
        started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(started,), name="ucomqtt", daemon=True)
        self._thread.start()
        started.result(_START)
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        assert self._loop is not None  # nosec B101 # it has been started
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(_START)


class AsyncBroker(_Base):
    """A broker in the event loop of the test. Its methods belong to the thread of that loop."""

    async def wait_for(self, topic: str, timeout: float = TIMEOUT) -> Message:
        """See wait_for_async."""
        return await self.wait_for_async(topic, timeout)

    async def __aenter__(self) -> AsyncBroker:
        await self._start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        await self._end()


class _Both(AbstractContextManager[Broker], AbstractAsyncContextManager[AsyncBroker]):
    """A broker that is about to start: `with` makes it one of its own thread, `async with` one of the event loop."""

    def __init__(self, *arguments: Any) -> None:
        self._arguments = arguments
        self._made: Any = None

    def __enter__(self) -> Broker:
        self._made = made = Broker(*self._arguments)
        return made.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._made.__exit__(*error)

    async def __aenter__(self) -> AsyncBroker:
        self._made = made = AsyncBroker(*self._arguments)
        return await made.__aenter__()

    async def __aexit__(self, *error: Any) -> None:
        await self._made.__aexit__(*error)


def broker(
    *,
    users: Mapping[str, str] | None = None,
    acl: Iterable[dict[str, Any]] | None = None,
    listener: Mapping[str, Any] | None = None,
    **options: Any,
) -> _Both:
    """A broker on 127.0.0.1 and a free port, for `with` or `async with`.

    users     user names with their passwords; without them everybody may connect
    acl       rules, as tables of [[acl]]; without them everybody may do everything
    listener  keys of its [[listener]]: type, tls, port, ...
    options   those of the broker, by name

    Raises TypeError for users, rules or keys that are of a wrong type, and ValueError naming what else is wrong, when it starts.
    """
    if users is not None and not isinstance(users, Mapping):
        raise TypeError('users are a dict of names and passwords, as {"alice": "secret"}, not %r' % (users,))
    for user, password in (users or {}).items():
        if not isinstance(user, str) or not isinstance(password, str):
            raise TypeError("names and passwords of users are str, not %r and %s" % (user, type(password).__name__))
    if listener is not None and not isinstance(listener, Mapping):
        raise TypeError('listener is a dict with keys of [[listener]], as {"type": "websocket"}, not %r' % (listener,))
    if acl is not None and (isinstance(acl, (str, bytes, Mapping)) or not isinstance(acl, Iterable)):
        raise TypeError('acl is a list of rules, as [{"topic": "home/#"}], not %r' % (acl,))
    return _Both(users, acl, listener or {}, options)
