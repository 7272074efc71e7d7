"""Converts the rights of back ends to ACL rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from port.core.acl.acl import Rule
from port.core.acl.acl_rule import rule
from port.cpython.auth.base import BackEndError

Right = tuple[str, str]  # topic filter, access in the back end's form

# Access -> publish, subscribe.
_WORDS = {
    "0": (False, False), "deny": (False, False), "3": (True, True), "readwrite": (True, True), "pubsub": (True, True),
    "read": (False, True), "subscribe": (False, True), "write": (True, False), "publish": (True, False),
}  # fmt: skip
_NUMBERS = {
    "comqtt1": {"1": (True, False), "2": (False, True)},
    "comqtt2": {"1": (False, True), "2": (True, False)},
}


def rules_of(rights: tuple[Right, ...], numbers: str) -> list[Rule]:
    """Rules of rights, in order; each decides about publishing and subscribing. Raises BackEndError."""
    found = []
    for topic, access in rights:
        may = _WORDS.get(access.lower()) or _NUMBERS[numbers].get(access)
        if may is None:
            raise BackEndError("access %r to topic %r is unknown" % (access, topic))
        try:
            for allow in (True, False):
                actions = [action for action, allowed in zip(("publish", "subscribe"), may, strict=True) if allowed is allow]
                if actions:
                    found.append(rule({"allow": allow, "actions": actions, "topic": topic}))
        except ValueError as e:
            raise BackEndError(str(e)) from None
    return found


def longest_first(rights: Mapping[str, Any]) -> tuple[Right, ...]:
    """Rights without an order, sorted so that the longest matching filter decides, as in CoMQTT.

    Of two filters of the same length the one with a wildcard comes last. Raises BackEndError.
    """
    for topic, access in rights.items():
        if isinstance(access, bool) or not isinstance(access, (int, str)):
            raise BackEndError("access to topic %r is neither a number nor a word" % topic)
    topics = sorted(rights, key=lambda topic: (len(topic), topic), reverse=True)
    return tuple((topic, str(rights[topic])) for topic in topics)


def rules_from(acl: Any, most: int) -> list[Rule]:
    """Rules of a back end's list. Raises BackEndError saying what is wrong."""
    if not isinstance(acl, list) or not all(isinstance(values, dict) for values in acl):
        raise BackEndError("acl is not a list of rules")
    if len(acl) > most:
        raise BackEndError("acl has %d rules, which is more than max_rules" % len(acl))
    try:
        return [rule(values) for values in acl]
    except ValueError as e:
        raise BackEndError(str(e)) from None
