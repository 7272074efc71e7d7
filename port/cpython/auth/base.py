"""The common part of all back ends: the broker goes on while they wait, however long that takes.

A subclass answers in a coroutine, `check`. Each CONNECT runs one as a task. The number of tasks and of waiting clients is bounded,
addresses take turns, and a client beyond the bounds is refused as the server is busy. A client without an answer in time is
refused as the server is unavailable, or left to the next authenticator. Connected clients are checked again after a time. Faults
are logged once a minute at most, and without secrets.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Hashable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeGuard, TypeVar

from port.core.wire.reason_codes import BAD_USER_NAME_OR_PASSWORD, NOT_AUTHORIZED, SERVER_BUSY, SERVER_UNAVAILABLE, SUCCESS
from port.core.limits.ip_address import peer
from port.core.auth.authenticator import PENDING, Authenticator, Identity
from port.core.acl.acl import Rule
from port.core.broker import Broker
from port.cpython.auth.cache import Cache
from port.cpython.auth.renewals import Job, Renewals
from port.cpython.auth.settings import Setting, Table, check
from port.cpython.auth.slots import Slots, Ticket

T = TypeVar("T")

logger = logging.getLogger("ucomqtt")

_FLAGS = {
    **dict.fromkeys(("1", "true", "t", "yes", "y", "on", "\1"), True),
    **dict.fromkeys(("", "0", "false", "f", "no", "n", "off", "\0"), False),
}
_REPORT = 60.0  # s between two lines in the log
_LINE = 300  # most characters of such a line
_OWN = 10  # places for the broker's own questions; there are two: at the start, and about connected clients
_SLICE = 200  # clients looked at in one go
_LONGEST = 100 * 365 * 86400.0  # s; a longer time counts as never

WAITING = (
    Setting("timeout", 5.0, "how long a client waits for the answer at most", "s", 0.1, 3600),
    Setting("max_concurrent", 32, "requests at a time", "", 1, 10000),
    Setting("max_concurrent_per_address", 8, "requests at a time for clients of one address", "", 1, 10000),
    Setting("max_waiting", 1000, "requests that may wait for their turn; beyond that the last to come of the address of which most "
            "wait is told that the server is busy", "", 0, 1000000),
    Setting("max_waiting_per_address", 100, "the same for clients of one address; further ones are told that the server is busy",
            "", 0, 1000000),
    Setting("on_error", "deny", "what becomes of a client without an answer: refused, or left to the next authenticator",
            choices=("deny", "next")),
)  # fmt: skip
CACHING = (
    Setting("auth_cache_ttl", 0.0, "how long the answer to a CONNECT holds for the same user name, password, client id and "
            "host; 0: it is asked for each time", "s", 0, 86400),
    Setting("cache_size", 10000, "answers that are remembered", "", 1, 10000000),
)  # fmt: skip


class BackEndError(Exception):
    """The back end gave no valid answer; the text says why, without secrets."""


class BusyError(BackEndError):
    """There is no place for the question."""


@dataclass(frozen=True, slots=True)
class ClientInfo:
    """The data of a client's CONNECT; `address` without the port."""

    client_id: str
    user: str | None
    password: bytes | None = field(repr=False)
    address: str
    listener: str

    @classmethod
    def of(cls, client: Identity, user: bytes | None, password: bytes | None) -> ClientInfo:
        """The data of a client of the core."""
        address = client.address.rpartition(":")[0].strip("[]") or client.address
        return cls(client.client_id.decode(), None if user is None else user.decode(), password, address, client.listener.id)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to a CONNECT.

    code        0: allowed, a reason code of 0x80 or more: refused, None: left to the next authenticator
    user        user name of the client from now on, None: that of its CONNECT
    rules       ACL rules of this client, None: those of its listener
    expires_at  seconds since 1970 when the client is disconnected, or None
    state       for Identity.auth_state
    """

    code: int | None = SUCCESS
    user: str | None = None
    rules: list[Rule] | None = None
    expires_at: float | None = None
    state: Any = None


REFUSED = Verdict(BAD_USER_NAME_OR_PASSWORD)
FORBIDDEN = Verdict(NOT_AUTHORIZED)
NEXT = Verdict(None)


class BackEnd(Authenticator):
    """An authenticator with settings and counters; `wall`: () -> seconds since 1970."""

    SETTINGS: Table = ()

    def __init__(self, settings: Mapping[str, Any], wall: Callable[[], float] = time.time) -> None:
        """Raises ValueError naming a wrong setting or a missing library, OSError for a file."""
        self.settings = check(self.SETTINGS, settings)
        self.wall = wall
        self.broker: Broker | None = None  # known from the first client on
        self.authorizer: Any = None  # the authorizer of admitted clients
        self.accepted = 0
        self.refused = 0
        self.errors = 0
        self._secrets: list[str] = []  # removed from every line of the log
        self._silent_until = 0.0
        self._suppressed = 0

    async def open(self) -> None:
        """The server starts."""

    async def close(self) -> None:
        """The server stops; `open` may follow."""

    def valid(self, client: Identity) -> bool:
        """See Authenticator.valid. A client with another authorizer has to connect again."""
        self.broker = client.broker
        return client.authorizer is self.authorizer

    def figures(self) -> list[tuple[str, int]]:
        """See Authenticator.figures."""
        return [("accepted", self.accepted), ("refused", self.refused), ("errors", self.errors)]

    def admit(self, client: Identity, verdict: Verdict) -> int | None:
        """Apply the verdict; returns the answer of `authenticate`."""
        if verdict.code is None:
            return None
        if verdict.code != SUCCESS:
            self.refused += 1
            return verdict.code
        self.accepted += 1
        if verdict.user is not None:
            client.user = verdict.user.encode()
        client.rules = verdict.rules
        client.authorizer = self.authorizer
        self.accept(client, verdict)
        return SUCCESS

    def accept(self, client: Identity, verdict: Verdict) -> None:
        """Apply the lasting part of a verdict, at CONNECT and at a renewal."""
        client.auth_state = verdict.state
        client.expires_at = None
        if verdict.expires_at is not None:
            now = self.wall()
            left = max(0.0, min(verdict.expires_at, now + _LONGEST) - now)  # works with integers too large for a float
            client.expires_at = client.broker.clock() + int(left * 1000)

    def report(self, text: str) -> None:
        """Log a fault, unless one was logged less than a minute ago."""
        now = time.monotonic()
        if now < self._silent_until:
            self._suppressed += 1
            return
        for hidden in filter(None, self._secrets):
            text = text.replace(hidden, "***")
        text = text.encode("unicode_escape").decode()[:_LINE]  # foreign text must not break up the log
        if self._suppressed:
            text += " (and %d more since the last report)" % self._suppressed
        self._silent_until = now + _REPORT
        self._suppressed = 0
        logger.warning("authenticator %s: %s", self.name, text)


class AsyncAuthenticator(BackEnd):
    """A back end whose answers take time.

    Subclasses implement `concerns` and `check`, and `connect`, `ping`, `disconnect` as needed. All methods belong to the
    thread of the event loop.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock`: () -> seconds, for the age of cached answers. Raises as BackEnd does."""
        super().__init__(settings, wall)
        self.timeout: float = self.settings["timeout"]
        self.timeouts = 0
        self.waiting = 0  # clients without an answer yet
        self.busy = 0  # clients refused as too many wait
        self.cache_hits = 0
        self.connections: int = self.settings["max_concurrent"] + 1  # at a time; one is for the broker's own questions
        self._on_error = None if self.settings["on_error"] == "next" else SERVER_UNAVAILABLE
        self._answers: Cache[Verdict] = Cache(self.settings["cache_size"], self.settings["auth_cache_ttl"], clock)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._slots: Slots | None = None
        self._renewals = Renewals(self.renewals, BackEndError, lambda e: self.report("while asking again: %s" % describe(e)))
        self.clock = clock
        self.prepare()

    # -- for subclasses -----------------------------------------------------------------------

    def prepare(self) -> None:
        """Part of the constructor: checks beyond the settings' table, libraries. Raises as BackEnd does."""

    def concerns(self, info: ClientInfo) -> bool:
        """True when this back end can know the client; otherwise the next authenticator is asked."""
        return info.user is not None

    async def check(self, info: ClientInfo) -> Verdict:
        """Decide about a CONNECT. An exception or a timeout is reported and counted."""
        raise NotImplementedError

    async def connect(self) -> None:
        """Prepare for questions; must not need the back end, which may be down."""

    async def ping(self) -> None:
        """Raise the back end's error, if any, for a report at the start."""

    async def disconnect(self) -> None:
        """Undo `connect`."""

    # -- start and stop -----------------------------------------------------------------------

    async def open(self) -> None:
        """See BackEnd.open. An unreachable back end is reported, and asked again at the next CONNECT."""
        if self._slots is None:
            values = self.settings
            share, most = values["max_concurrent_per_address"], values["max_waiting_per_address"]
            self._slots = Slots(values["max_concurrent"], share, values["max_waiting"], most)
            self._own = Slots(1, 1, _OWN, _OWN)
            await self.connect()
            self.start(self._first_ping())
            if values.get("refresh"):
                self.start(self._renewals.for_ever(values["refresh"]))

    async def close(self) -> None:
        """See BackEnd.close. Waiting clients get no answer."""
        if self._slots is None:
            return
        self._slots = None
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=self.timeout)
        self._answers.clear()
        try:
            async with asyncio.timeout(self.timeout):
                await self.disconnect()
        except Exception as e:
            self.report("while closing: %s" % describe(e))

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run work as a task that ends by itself or with `close`."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # read, so that asyncio does not report it

    async def _first_ping(self) -> None:
        try:
            await self.ask_within(self.ping)
        except BackEndError:
            pass  # it was reported

    # -- clients ------------------------------------------------------------------------------

    def authenticate(self, client: Identity, user: bytes | None, password: bytes | None) -> int | None:
        """See Authenticator.authenticate."""
        self.broker = client.broker
        info = ClientInfo.of(client, user, password)
        if not self.concerns(info):
            return None
        parts = [info.client_id.encode(), user, password, info.address.encode(), info.listener.encode()]
        key = self._answers.key(*parts)
        known = self._answers.get(key)
        if known is not None:
            self.cache_hits += 1
            return self.admit(client, known)
        if not self.request(client, lambda ticket: self._decide(client, info, key, ticket)):
            return SERVER_BUSY
        return PENDING

    def request(self, client: Identity, work: Callable[[Ticket | None], Coroutine[Any, Any, None]]) -> bool:
        """Run work that a client waits for; False, and counted, when too many wait already.

        `work(ticket)` passes its ticket to `ask_within`; the ticket is None when the back end is closed.
        """
        ticket = None
        if self._slots is not None:
            ticket = self._slots.enter(peer(client.address))
            if ticket is None:
                self.busy += 1
                return False
        self.waiting += 1
        self.start(work(ticket)).add_done_callback(self._answered)
        return True

    def _answered(self, task: asyncio.Task[Any]) -> None:
        self.waiting -= 1

    async def _decide(self, client: Identity, info: ClientInfo, key: bytes, ticket: Ticket | None) -> None:
        try:
            verdict = await self.ask_within(lambda: self.check(info), client, ticket)
        except BusyError:
            code: int | None = SERVER_BUSY
        except BackEndError:
            code = self._on_error
        except asyncio.CancelledError:
            client.authenticated(SERVER_UNAVAILABLE)
            raise
        else:
            self._answers.put(key, verdict)
            if client.gone:
                return
            code = self.admit(client, verdict)
        client.authenticated(code)

    async def ask_within(
        self, ask: Callable[[], Awaitable[T]], client: Identity | None = None, ticket: Ticket | None = None
    ) -> T:
        """The answer of `ask()`, called in its turn. Raises BackEndError, counted and reported, without an answer.

        A client that has left is not asked about. A question without a ticket is the broker's own, which always has a place.
        """
        if self._slots is None:
            raise BackEndError("closed")
        slots = self._own if ticket is None else self._slots
        place = ticket or slots.enter("")
        if place is None:
            raise BackEndError("too many wait")
        task: asyncio.Task[T] = self.start(self._in_turn(place, ask, client))
        task.add_done_callback(lambda _: slots.leave(place))
        try:
            # Not asyncio.timeout: a cancelled library may take long to clean up.
            await asyncio.wait((task,), timeout=self.timeout)
        finally:
            task.cancel()
        if task.done() and not task.cancelled():
            error = task.exception()
            if error is None:
                return task.result()
            if not isinstance(error, Exception):
                raise error
            if isinstance(error, BusyError):
                self.busy += 1
                raise error
            text = describe(error)
        else:
            text = "no answer within %g s" % self.timeout
        if client is None or not client.gone:
            if task.done():
                self.errors += 1
            else:
                self.timeouts += 1
            self.report(text)
        raise BackEndError(text)

    async def _in_turn(self, ticket: Ticket, ask: Callable[[], Awaitable[T]], client: Identity | None) -> T:
        if not await ticket.turn:
            raise BusyError("others came first")
        if client is not None and client.gone:
            raise BackEndError("the client has gone")
        return await ask()

    # -- clients that are in ----------------------------------------------------------------------

    async def renewals(self) -> AsyncIterator[tuple[Hashable, Job]]:
        """The questions to ask again, see Renewals."""
        return
        yield

    async def refresh(self) -> None:
        """Ask again about all connected clients, and apply the changes.

        Ends after several questions in a row without an answer: clients keep their rights while the back end is away.
        """
        await self._renewals.round()

    async def admitted(self, state: type) -> AsyncIterator[Identity]:
        """The connected clients that this back end, or its predecessor of the same name, let in.

        `state`: the type of their `auth_state`.
        """
        for count, conn in enumerate(list(self.broker.connections) if self.broker is not None else (), 1):
            if not count % _SLICE:
                await asyncio.sleep(0)
            client = conn.identity
            if client is None or conn.session is None or client.authenticator is None:
                continue
            if client.authenticator.name == self.name and isinstance(client.auth_state, state):
                yield client

    def expel(self, client: Identity) -> None:
        """Disconnect a client that may not stay."""
        client.broker.disconnect(client.client_id, NOT_AUTHORIZED, "not authorized any more")

    def figures(self) -> list[tuple[str, int]]:
        """See Authenticator.figures."""
        figures = [*super().figures(), ("timeouts", self.timeouts), ("busy", self.busy), ("cache_hits", self.cache_hits)]
        return [*figures, ("waiting", self.waiting)]


def from_json(text: str | bytes, what: str) -> Any:
    """The value of a back end's JSON. Raises BackEndError naming `what` when it is invalid or nested too deep."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise BackEndError("%s is no JSON" % what) from None


def flag(value: Any, name: str) -> bool:
    """Yes or no in a database's form: a boolean, 1 or 0, a bit, or a word. Raises BackEndError for other values."""
    if isinstance(value, bool):
        return value
    if isinstance(value, (int, float, Decimal)) and value in (0, 1):
        return value == 1
    if isinstance(value, (bytes, bytearray)):
        value = value.decode("latin-1")
    found = _FLAGS.get(value.lower()) if isinstance(value, str) else None
    if found is None:
        raise BackEndError("%s is neither yes nor no" % name)
    return found


def is_user_name(value: Any) -> TypeGuard[str]:
    """True when a value from outside can be a user name in MQTT (clause 1.5.4)."""
    try:
        return isinstance(value, str) and 0 < len(value.encode()) < 65536 and "\0" not in value
    except UnicodeEncodeError:
        return False


def describe(error: Exception) -> str:
    """An error in a few words."""
    if isinstance(error, BackEndError):
        return str(error)
    return "%s: %s" % (type(error).__name__, error) if str(error) else type(error).__name__
