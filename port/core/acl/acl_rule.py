"""ACL rules of a configuration; port.core.acl.acl applies them."""

from port.core import const
from port.core.constants import DENIED, MAY_RETAIN
from port.core.wire.topics import valid_filter
from port.core.limits.ip_network import Network
from port.core.acl.acl import Rule

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Optional

_ANY = const(7)
# `subscribe` includes receiving; `subscribe_only` leaves receiving to other rules.
ACTIONS = {"publish": 1, "subscribe": 6, "receive": 4, "subscribe_only": 2}
_FIELDS = ("allow", "actions", "topic", "user", "client_id", "address", "qos", "retain")


def rule(values: "dict[str, Any]") -> Rule:
    """A rule from its configuration. Raises ValueError naming what is wrong.

    topic: topic filter; `%u` stands for the user name, `%c` for the client id
    actions: list of publish, subscribe (with delivery), receive (delivery alone), subscribe_only (without delivery) (default: all)
    allow: whether the rule allows the actions or denies them (default true)
    user: user that it applies to, or its beginning and `*`; `*`: any user; an empty string: clients without a user name (default: every client)
    client_id: client id that it applies to, or its beginning and `*` (default: any)
    address: network or address that the client must come from, or `loopback` (default: any)
    qos: highest QoS allowed: subscriptions are granted no more, messages above it are refused (0 to 2, default 2)
    retain: whether retained messages may be published (default true)
    """
    for name in values:
        if name not in _FIELDS:
            from port.core.wire.suggest import unknown

            raise ValueError(unknown("key", name, list(_FIELDS)))
    allow = values.get("allow", True)
    retain = values.get("retain", True)
    for name, value in (("allow", allow), ("retain", retain)):
        if not isinstance(value, bool):
            raise ValueError("%s in an ACL rule must be true or false, not %r" % (name, value))
    qos = values.get("qos", 2)
    if isinstance(qos, bool) or not isinstance(qos, int) or not 0 <= qos <= 2:
        raise ValueError("qos in an ACL rule must be 0, 1 or 2, not %r" % (qos,))
    topic = _text(values, "topic")
    if topic is None:
        raise ValueError("an ACL rule needs a topic")
    if not valid_filter(topic.replace(b"%u", b"u").replace(b"%c", b"c")) or topic.startswith(b"$share/"):
        raise ValueError("topic in an ACL rule must be a topic filter, not %r" % values["topic"])
    network = values.get("address")
    if network is not None:
        if not isinstance(network, str):
            raise ValueError("address in an ACL rule must be a string, not %r" % (network,))
        network = Network(network)
    verdict = qos | (MAY_RETAIN if retain else 0) if allow else DENIED
    entry = (_actions(values.get("actions")), topic, verdict)
    return Rule(entry, _text(values, "user"), _text(values, "client_id"), network)


def _check_marks(topic: bytes) -> None:
    """Raise ValueError for % before an unknown letter: a rule for `home/%x` would never apply."""
    for part in topic.split(b"%")[1:]:
        mark = part[:1]
        if mark.isalpha() and mark not in b"uc":
            raise ValueError("%%%s in the topic of an ACL rule stands for nothing, there are %%u and %%c" % str(mark, "utf-8"))


def numbered(values: "Any", where: str, number: int) -> Rule:
    """The rule with this number in a list. Raises ValueError with the number."""
    try:
        if not isinstance(values, dict):
            raise ValueError("a rule is a table, not %r" % (values,))
        found = rule(values)
        _check_marks(found.entry[1])
        return found
    except ValueError as e:
        raise ValueError("%s, rule %d: %s" % (where, number, e))


def _text(values: "dict[str, Any]", name: str) -> "Optional[bytes]":
    value = values.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError("%s in an ACL rule must be a string, not %r" % (name, value))
    return value.encode()


def _actions(names: "Any") -> int:
    if names is None:
        return _ANY
    if not isinstance(names, (list, tuple)) or not names:
        raise ValueError("actions in an ACL rule must be a list, not %r" % (names,))
    actions = 0
    for name in names:
        if not isinstance(name, str):
            raise ValueError("actions in an ACL rule must be a list of strings, not %r" % (names,))
        if name not in ACTIONS:
            from port.core.wire.suggest import unknown

            raise ValueError(unknown("action", name, sorted(ACTIONS)))
        actions |= ACTIONS[name]
    return actions
