"""Log texts of refusals: the action, the client, the rule, option or authenticator that refused, the reason code in words.

Loaded with the first refusal. A package without this module logs the short text and the reason code.
"""

from port.core import const
from port.core.constants import DENIED, MAY_RECEIVE, MAY_RETAIN, MAY_SUBSCRIBE
from port.core.wire.reason_codes import BAD_USER_NAME_OR_PASSWORD, NOT_AUTHORIZED, QUOTA_EXCEEDED, TOPIC_FILTER_INVALID
from port.core.wire.topics import is_shared, matches, without_share
from port.core.limits.client_log import OTHERS, shown
from port.core.limits.ip_address import host
from port.core.limits.places import part
from port.core.routing.subscriptions import is_wide

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

    from port.core.limits.client_log import ClientLog
    from port.core.sessions.session import Session
    from port.core.acl.acl import Rule
    from port.core.protocol.connection import Connection

_WARNED = const(-1)  # in place of a level: the address has had its warning
_ADDRESSES = const(64)  # as in port.core.limits.client_log
# Tuples, as a firmware keeps them in flash.
_DOING = ((1, "publishing to"), (2, "subscribing to"), (4, "receiving"))
_WORDS = (
    (0x81, "malformed packet"),
    (0x82, "protocol error"),
    (0x84, "unsupported protocol version"),
    (0x85, "client id not valid"),
    (0x86, "bad user name or password"),
    (0x87, "not authorized"),
    (0x88, "server unavailable"),
    (0x89, "server busy"),
    (0x8A, "banned"),
    (0x8C, "bad authentication method"),
    (0x8F, "topic filter not valid"),
    (0x90, "topic name not valid"),
    (0x97, "quota exceeded"),
    (0x99, "payload format invalid"),
    (0x9E, "shared_subscriptions is false"),
    (0xA2, "wildcard_subscriptions is false"),
)
# The option behind a reason code that has a single one.
_OPTIONS = (
    (0x84, "accept_protocol_versions"),
    (0x90, "max_topic_length, max_topic_levels"),
    (0x93, "receive_maximum, max_unreleased"),
    (0x94, "topic_alias_maximum"),
    (0x96, "max_message_rate, max_byte_rate"),
)
# Option by beginning of the text, for codes with several options.
_SIZES = (
    ("payload of", "message_size_limit"),
    ("packet of", "max_packet_size"),
    ("CONNECT of", "max_connect_size"),
    ("client id of", "max_client_id_length"),
    ("empty client id", "allow_zero_length_clientid"),
    ("client id not as", "client_id"),
    ("no user name to be", "use_username_as_clientid"),
    ("queue full", "queue_full"),
    ("no room for the rest", "max_memory"),
)
_MOST = "more than "
_VAGUE = ("", "connection refused", "authentication failed", "not authorized")


def named(client_id: bytes, user: "Optional[bytes]", address: str) -> str:
    """A client's name, user and address for the log."""
    return "%s %s%s" % (shown(client_id), _of_user(user), address)


def user_of_client(conn: "Connection") -> str:
    """See port.core.limits.client_log.user_of; until the client is let in, the user name of its CONNECT."""
    identity = conn.identity
    user = identity.said_user if identity is not None else None if conn.session is None else conn.session.user
    return _of_user(user)


def _of_user(user: "Optional[bytes]") -> str:
    return "(user %s) " % shown(user) if user else ""


def words(code: int) -> str:
    """A reason code in words, with its option if it has a single one."""
    return _said(_WORDS, code) or "refused"


def _said(pairs: "tuple[tuple[int, str], ...]", number: int) -> str:
    for known, text in pairs:
        if known == number:
            return text
    return ""


def reason(conn: "Connection", code: int, text: str) -> str:
    """The reason why a connection ends, with the authenticator or option that refused CONNECT unless `text` names it."""
    identity = conn.identity
    if code == QUOTA_EXCEEDED and conn.broker.memory.shortage:
        return "memory is short"
    if code < 0x80 or text not in _VAGUE:
        return _with_option(code, text)
    said = words(code)
    if identity is None or conn.connect is None:
        return said
    authenticator = identity.authenticator
    if authenticator is not None:
        return "%s, says authenticator %s" % (said, authenticator.name or type(authenticator).__name__)
    names = ", ".join([found.name or type(found).__name__ for found in conn.listener.authenticators])
    if code == BAD_USER_NAME_OR_PASSWORD and names:
        return "%s, no authenticator knows this user: %s" % (said, names)
    if code == NOT_AUTHORIZED:
        who = conn.listener.options.anonymous
        if who == "auto":
            who = "auto, which means " + ("none with auth" if names else "loopback without auth")
        return "%s, no authenticator lets it in and anonymous is %s" % (said, who)
    return said


def _with_option(code: int, text: str) -> str:
    """A reason, with its option unless the text names it."""
    option = _said(_OPTIONS, code)
    for beginning, name in _SIZES:
        if text.startswith(beginning):
            option = name
    if text.startswith(_MOST):
        option = "max_filters" if "filters" in text else "max_user_properties"
    return "%s (%s)" % (text, option) if option else text


def tell(session: "Session", action: int, topic: bytes, code: int, text: str) -> None:
    """Log a refusal that leaves the client connected, see port.core.limits.client_log.denied."""
    log = session.broker.client_log
    level = 0 if action == MAY_RECEIVE else _level(log, host(session.address))
    if _left_out(log, host(session.address), level):  # first, so that frequent refusals cost little
        return
    if action == MAY_SUBSCRIBE:
        why = _of_subscription(session, topic, code)
    elif code == QUOTA_EXCEEDED and not text:
        why = _of_retained(session)
    elif text in _VAGUE:
        why = words(code)
    else:
        why = _with_option(code, text)
    if code == NOT_AUTHORIZED and text in _VAGUE:
        why += ", " + _rule(session, action, without_share(topic) if action == MAY_SUBSCRIBE else topic)
    who: "Any" = session.conn or named(session.client_id, session.user, session.address)
    log.line(level, session.address, "%s: %s %s is refused: %s (0x%02x)", who, _said(_DOING, action), shown(topic), why, code)


def _level(log: "ClientLog", place: str) -> int:
    """Warning for the first refusal of an address in a minute, then information, as clients may repeat theirs."""
    key = (place, _WARNED)
    if key in log.lines or len(log.lines) >= min(_ADDRESSES, log.broker.options.max_tracked_addresses):
        return 1
    if not log.lines:
        log.since = log.broker.clock()
    log.lines[key] = 0
    return 2


def _left_out(log: "ClientLog", place: str, level: int) -> bool:
    """True, and the line counted, when a line of an address would not be written now."""
    key = (place, level)
    if key not in log.lines:
        key = (OTHERS, level)
    most = log.broker.options.max_log_lines
    if not most or log.lines.get(key, 0) < most:
        return False
    log.lines[key] += 1
    return True


def _of_retained(session: "Session") -> str:
    """The option that keeps a message from being retained."""
    retained = session.broker.retained
    holder = retained.holder(session.owner_key())
    option = "max_retained_bytes or retained_share"
    if retained.count >= retained.max_count:
        option = "max_retained_messages"
    elif session.broker.memory.lacks(0):
        option = "max_memory"
    elif retained.share < 100 and holder.count >= part(retained.max_count - retained.count + holder.count, retained.share):
        option = "retained_share"
    return "no room for another retained message, %s reached" % option


def _of_subscription(session: "Session", topic_filter: bytes, code: int) -> str:
    """The option that has refused a subscription, else the reason code in words."""
    options = session.options
    if code == TOPIC_FILTER_INVALID:
        if len(topic_filter) > options.max_topic_length:
            return "longer than max_topic_length"
        if topic_filter.count(b"/") >= options.max_topic_levels:
            return "more levels than max_topic_levels"
    elif code == QUOTA_EXCEEDED:
        subscriptions = session.broker.router.subscriptions
        size = subscriptions.size_of(topic_filter)
        if len(session.subscriptions) >= options.max_subscriptions:
            return "max_subscriptions reached"
        if session.subscription_bytes + size > options.max_subscription_bytes:
            return "max_subscription_bytes reached"
        if is_wide(topic_filter) and subscriptions.wide.get(session, 0) >= options.max_wide_subscriptions:
            return "max_wide_subscriptions reached"
        if is_shared(topic_filter) and subscriptions.founded.get(session.owner_key(), 0) >= options.max_shared_subscriptions:
            return "max_shared_subscriptions reached"
        return "max_memory reached"
    return words(code)


def _rule(session: "Session", action: int, topic: bytes) -> str:
    """The cause of a denial: a rule by its number, the lack of a rule, an authorizer or a hook."""
    access = session.access
    if access is not None:
        listener = session.listener
        of_all = "acl" if listener.acl is not access.acl else "acl of listener %s" % listener.id
        for where, rules in (("its own rules", access.rules), (of_all, access.acl.rules)):
            found = _deciding(session, action, topic, rules or ())
            if found is not None:
                number, rule_filter, verdict = found
                rule = "rule %d of %s (%s)" % (number, where, shown(rule_filter))
                if verdict == DENIED:
                    return "denied by " + rule
                if action != MAY_SUBSCRIBE:
                    return "%s allows QoS %d at most%s" % (rule, verdict & 3, "" if verdict & MAY_RETAIN else ", not retained")
                return "refused by a hook"
        if access.authorizer is not None:
            return "denied by its authorizer"
        return "no rule of %s allows it" % of_all
    return "refused by a hook"


def _deciding(session: "Session", action: int, topic: bytes, rules: "Any") -> "Optional[tuple[int, bytes, int]]":
    """(number, topic filter, verdict) of the first rule that applies."""
    from port.core.acl.acl import covers

    number = 0
    rule: "Rule"
    for rule in rules:
        number += 1
        if not rule.applies(session.user, session.client_id, session.address):
            continue
        entry = rule.for_client(session.user, session.client_id)
        if entry is None:
            continue
        actions, rule_filter, verdict = entry
        if action == MAY_SUBSCRIBE:
            if covers(rule_filter, topic) and (actions & action or actions & MAY_RECEIVE and verdict == DENIED):
                return number, rule_filter, verdict
        elif actions & action and matches(rule_filter, topic):
            return number, rule_filter, verdict
    return None
