"""Lists of a broker's sessions, subscriptions, retained messages and topics, a page at a time; for pages and for programs.

    page = Query(broker).sessions(limit=100)
    while page.cursor:
        page = Query(broker).sessions(page.cursor, 100)

A page looks at no more entries than fit into a quarter of a turn. It ends there, even empty, and its cursor leads on. An item
that stays from the first page to the last is listed once, whatever changes beside it. A cursor is text for a URL, of at most
4,096 characters; it is valid for this broker until its restart.
"""

from binascii import b2a_base64

from port.core import const
from port.core.constants import NO_LOCAL, QOS, RECORD_NAME, RECORD_PAYLOAD, RECORD_QOS, RETAIN_AS_PUBLISHED
from port.core.wire.codec import is_utf8
from port.core.wire.topics import valid_filter
from port.core.messages.message import as_bytes
from port.core.messages.retained import expired
from port.core.messages.trie_pages import LevelPage, TriePage
from port.core.sessions.session_index import SessionIndex

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, Iterator, Optional, Union

    from port.core.messages.retained import Record
    from port.core.routing.subscriptions import Subscriptions
    from port.core.sessions.session import Session
    from port.core.broker import Broker

    Text = Union[str, bytes]

LIMIT = const(50)  # entries of a page for which no limit is given
MOST = const(1000)  # entries of a page
SHOWN = const(256)  # bytes of a payload that a list shows
_NEVER = 0xFFFFFFFF
_CHARACTERS = const(64)  # of a cursor made of numbers


class Page:
    """One page of a list.

    items   their form is told by the method of Query that makes the page
    cursor  leads to the next page, "" for the last one
    looked  entries that were looked at for it
    """

    def __init__(self, items: "list[Any]", cursor: str, looked: int, describe: "Callable[[Any], dict[str, Any]]") -> None:
        self.items = items
        self.cursor = cursor
        self.looked = looked
        self._describe = describe

    def described(self) -> "Iterator[dict[str, Any]]":
        """The items as dicts for JSON, each made when its turn comes; see the functions at the end of this file."""
        return map(self._describe, self.items)


class Query:
    """Lists of one broker. `limit` is at most MOST, a greater one is lowered. An invalid cursor raises ValueError."""

    def __init__(self, broker: "Broker") -> None:
        """The first Query of a broker makes its SessionIndex from all sessions."""
        registry = broker.session_registry
        if registry.index is None:
            registry.index = SessionIndex(broker.sessions.values())
        self._broker = broker
        self._index = registry.index
        self._steps = max(broker.turns.limit >> 2, 1)

    def _page(self, items: "list[Any]", cursor: str, looked: int, describe: "Callable[[Any], dict[str, Any]]") -> Page:
        self._broker.turns.spent += looked
        return Page(items, cursor, looked, describe)

    def _session(self, number: int) -> "Optional[Session]":
        """The session with this number."""
        session = self._index.at(number)
        if session is not None and self._broker.sessions.get(session.client_id) is not session:
            self._index.leave(session)  # memory has run out when it began
            return None
        return session

    def sessions(self, cursor: str = "", limit: int = LIMIT, match: "Optional[Callable[[Session], Any]]" = None) -> Page:
        """Sessions, connected or not; those for which `match` is true."""
        number, _ = _numbers(cursor)
        limit = _limited(limit)
        looked = 0
        found: "list[Session]" = []
        while number < len(self._index) and len(found) < limit and looked < self._steps:
            looked += 1
            session = self._session(number)
            if session is not None and (match is None or match(session)):
                found.append(session)
            number += 1
        return self._page(found, str(number) if number < len(self._index) else "", looked, session_fields)

    def subscriptions(
        self,
        client_id: "Optional[Text]" = None,
        topic_filter: "Optional[Text]" = None,
        cursor: str = "",
        limit: int = LIMIT,
    ) -> Page:
        """Subscriptions as (session, topic filter, options): of one client, with one filter, or all.

        For options see port.core.routing.subscriptions. A page may be longer than `limit` by filters of one hash; all filters of a
        session are looked at for a page of them, see max_subscriptions.
        """
        number, after = _numbers(cursor)
        limit = _limited(limit)
        wanted = None if topic_filter is None else as_bytes(topic_filter)
        if client_id is not None:
            session = self._broker.sessions.get(as_bytes(client_id))
            return self._of_sessions([] if session is None else [session], wanted, number, after, limit)
        if wanted is not None:
            sessions = _sessions(self._broker.router.subscriptions, wanted, self._steps)
            if sessions is not None:
                sessions = [session for session in sessions if session.number >= number]
                sessions.sort(key=_number)
                return self._of_sessions(sessions, wanted, number, after, limit)
        return self._of_all(wanted, number, after, limit)

    def _of_sessions(self, sessions: "list[Session]", wanted: "Optional[bytes]", number: int, after: int, limit: int) -> Page:
        """The subscriptions of these sessions, in the order of their numbers."""
        found: "list[Any]" = []
        looked = 0
        for session in sessions:
            looked += 1
            if len(found) >= limit:
                return self._page(found, str(session.number), looked, subscription_fields)
            more, last = _filters(session, wanted, after if session.number == number else -1, limit - len(found))
            looked += len(more)
            found += more
            if last >= 0:
                return self._page(found, "%d.%d" % (session.number, last), looked, subscription_fields)
        return self._page(found, "", looked, subscription_fields)

    def _of_all(self, wanted: "Optional[bytes]", number: int, after: int, limit: int) -> Page:
        """The subscriptions of all sessions from a number on."""
        found: "list[Any]" = []
        looked = 0
        while number < len(self._index) and len(found) < limit and looked < self._steps:
            looked += 1
            session = self._session(number)
            if session is not None:
                more, last = _filters(session, wanted, after, limit - len(found))
                looked += len(more)
                found += more
                if last >= 0:
                    return self._page(found, "%d.%d" % (number, last), looked, subscription_fields)
            number += 1
            after = -1
        return self._page(found, str(number) if number < len(self._index) else "", looked, subscription_fields)

    def retained(self, topic_filter: "Optional[Text]" = None, cursor: str = "", limit: int = LIMIT) -> Page:
        """Retained messages that a filter matches, all without one, as port.core.messages.retained.Record.

        Raises ValueError for an invalid filter, too.
        """
        pattern = b"#" if topic_filter is None else as_bytes(topic_filter)
        if not valid_filter(pattern):
            raise ValueError("invalid topic filter")
        root = self._broker.retained.root
        page = TriePage(root, pattern, topic_filter is not None, cursor, _limited(limit), self._steps)
        now = self._broker.clock()
        found = [record for record in page.values if not expired(record, now)]
        return self._page(found, page.cursor, page.steps, retained_fields)

    def topics(self, parent: "Optional[Text]" = None, cursor: str = "", limit: int = LIMIT) -> Page:
        """One level of the tree of topics that have retained messages: the topics directly below `parent`, or the first levels.

        As (topic name, its Record or None, True with topics below it).
        """
        above = None if parent is None else as_bytes(parent)
        page = LevelPage(self._broker.retained.root, above, cursor, _limited(limit))
        return self._page(page.items, page.cursor, page.steps, topic_fields)


def _sessions(subscriptions: "Subscriptions", topic_filter: bytes, most: int) -> "Optional[list[Session]]":
    """The sessions that have this filter, in no order; None when they are more than `most`."""
    group = subscriptions.group(topic_filter)
    if group is not None:
        return [member[0] for member in group.members] if len(group.members) <= most else None
    found = subscriptions.get(topic_filter)
    if found is None:
        return []
    if not isinstance(found, dict):
        found = (found,)
    if len(found) > most:
        return None
    return [subscriber for subscriber in found if subscriber.subscriptions is not None]


def _limited(limit: int) -> int:
    if limit < 1:
        raise ValueError("limit must be 1 or more, not %d" % limit)
    return min(limit, MOST)


def _numbers(cursor: str) -> "tuple[int, int]":
    """(number of a session, hash of a filter or -1) that a cursor stands for. Raises ValueError."""
    if not cursor:
        return 0, -1
    first, point, second = cursor.partition(".")
    if len(cursor) > _CHARACTERS or not first.isdigit() or point and not second.isdigit():
        raise ValueError("no cursor")
    return int(first), int(second) if point else -1


def _number(session: "Session") -> int:
    return session.number


def _hash(topic_filter: bytes) -> int:
    return hash(topic_filter) & 0xFFFFFFFFFFFFFFFF


def _filters(session: "Session", wanted: "Optional[bytes]", after: int, limit: int) -> "tuple[list[Any], int]":
    """Some subscriptions of a session by the hashes of their filters, and the last hash, -1 if these are all that are left."""
    subscriptions = session.subscriptions
    if wanted is not None:
        if wanted not in subscriptions or _hash(wanted) <= after:
            return [], -1
        return [(session, wanted, subscriptions[wanted])], -1
    session.broker.turns.spent += len(subscriptions) >> 2
    filters = [topic_filter for topic_filter in subscriptions if _hash(topic_filter) > after]
    filters.sort(key=_hash)
    count = min(limit, len(filters))
    while 0 < count < len(filters) and _hash(filters[count]) == _hash(filters[count - 1]):
        count += 1
    found = [(session, topic_filter, subscriptions[topic_filter]) for topic_filter in filters[:count]]
    return found, _hash(filters[count - 1]) if count < len(filters) else -1


# -- items as dicts for JSON --------------------------------------------------------------------------------------


def session_fields(session: "Session") -> "dict[str, Any]":
    """A session: `expiry` in s is None for one that does not expire, and counts from the end of the connection.

    `in_process`: its client is one of the broker's program, see port.core.protocol.local_client.
    """
    conn = session.conn
    return {
        "client_id": session.client_id,
        "user": session.user,
        "address": session.address,
        "listener": session.listener.id,
        "in_process": session.listener.local,
        "connected": conn is not None,
        "version": conn.version if conn is not None else 5 if session.version5 else 4,
        "expiry": None if session.expiry == _NEVER else session.expiry,
        "subscriptions": len(session.subscriptions),
        "inflight": len(session.inflight),
        "queued": len(session.queue or ()),
        "queued_bytes": session.queued_bytes,
    }


def subscription_fields(subscription: "tuple[Session, bytes, int]") -> "dict[str, Any]":
    """A subscription, with its options (clause 3.8.3.1)."""
    session, topic_filter, options = subscription
    return {
        "client_id": session.client_id,
        "topic_filter": topic_filter,
        "qos": options & QOS,
        "no_local": options & NO_LOCAL != 0,
        "retain_as_published": options & RETAIN_AS_PUBLISHED != 0,
        "retain_handling": options >> 4 & 3,
        "identifier": options >> 8 or None,
    }


def retained_fields(record: "Record", most: int = SHOWN) -> "dict[str, Any]":
    """A retained message. Its payload, or the `most` first bytes of it, is `payload` if that is text, else `base64`."""
    payload = record[RECORD_PAYLOAD]
    found: "dict[str, Any]" = {"topic": record[RECORD_NAME], "qos": record[RECORD_QOS] & 3, "size": len(payload)}
    shown = payload[:most]
    if len(shown) < len(payload):
        for _ in range(3):  # a character may have been cut
            if shown and not _is_text(shown):
                shown = shown[:-1]
    if _is_text(shown):
        found["payload"] = shown
    else:
        found["base64"] = str(b2a_base64(payload[:most]).strip(), "utf-8")
    return found


def topic_fields(topic: "tuple[bytes, Optional[Record], bool]") -> "dict[str, Any]":
    """A topic of the tree: the `retained_fields` of its message, if it has one, and `below`: True with topics below it."""
    name, record, longer = topic
    found: "dict[str, Any]" = {"topic": name} if record is None else retained_fields(record)
    found["below"] = longer
    return found


def _is_text(data: bytes) -> bool:
    return is_utf8(data.replace(b"\0", b" "))
