"""Rules against a model that reads them one by one, `covers` against every name, addresses against `ipaddress`."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from port.core.constants import DENIED, MAY_RETAIN
from port.core.wire.topics import matches
from port.core.limits import ip_address as address
from port.core.limits import ip_network as network
from port.core.acl.acl import Acl, covers
from port.core.acl.acl_rule import rule
from topic_strategies import filters, names

LEVELS = [b"a", b"b", b"c", b"", b"z"]  # `z` stands in no filter
ENDS = [count * (level,) for level in (b"a", b"z", b"") for count in range(6)]
NAMES = [name for count in range(1, 4) for name in map(b"/".join, product([*LEVELS, b"$SYS", b"$x"], repeat=count)) if name]

users = st.sampled_from([None, b"", b"a", b"b", b"a/b", b"+", b"#", b"%c", b"$SYS"])
client_ids = st.sampled_from([b"a", b"c", b"%u", b"+", b"b/c", b"$x"])
addresses = st.sampled_from(["10.0.0.1:1", "[fd00::1]:1", "unix", ""])


def _decode(topic_filter):
    return topic_filter.decode()


topics = filters.map(_decode) | st.sampled_from(["%u/#", "%c/#", "a/%u", "a/%c/#", "%u%c", "%u/+/%c", "+/%u", "$x/%c"])
tables = st.fixed_dictionaries({"topic": topics}, optional={
    "allow": st.booleans(),
    "actions": st.lists(st.sampled_from(["publish", "subscribe", "receive", "subscribe_only"]), min_size=1, max_size=3),
    "user": st.sampled_from(["", "a", "b", "*", "a*"]),
    "client_id": st.sampled_from(["a", "c", "*", "+"]),
    "address": st.sampled_from(["10.0.0.0/8", "fd00::/8", "loopback"]),
    "qos": st.integers(0, 2),
    "retain": st.booleans(),
})
ACTIONS = {"publish": {"publish"}, "subscribe": {"subscribe", "receive"}, "receive": {"receive"}, "subscribe_only": {"subscribe"}}
INSIDE = {"10.0.0.0/8": "10.", "fd00::/8": "[fd", "loopback": "unix"}


def _fits(pattern, value):
    value = (value or b"").decode()
    if not value:  # means nobody: `*` is any user, but one
        return not pattern
    return pattern is None or (value.startswith(pattern[:-1]) if pattern.endswith("*") else value == pattern)


def _filled(table, user, client_id):
    """The topic filter for this client; None when the rule is not about it."""
    parts = table["topic"].replace("%u", "\1").replace("%c", "\2")
    for mark, value in (("\1", user), ("\2", client_id)):
        if mark in parts and (not value or table.get("allow", True) and set(value) & set(b"+#/")):
            return None
    text = "".join({"\1": (user or b"").decode(), "\2": client_id.decode()}.get(c, c) for c in parts)
    levels = text.split("/")
    odd = [i for i, level in enumerate(levels)
           if level != "+" and ("+" in level or "#" in level and (level != "#" or i < len(levels) - 1))]
    if odd or not text:
        return None if table.get("allow", True) else b"#"
    if table.get("allow", True) and text.startswith("$") and not table["topic"].startswith("$"):
        return None
    return text.encode()


def model(own, listed, action, user, client_id, address, applies):
    """The verdict of the first rule about this client whose filter `applies`."""
    for table in own + listed:
        about = (_fits(table.get("user"), user) and _fits(table.get("client_id"), client_id)
                 and address.startswith(INSIDE.get(table.get("address"), "")))
        topic_filter = _filled(table, user, client_id)
        if not about or topic_filter is None:
            continue
        given = set().union(*(ACTIONS[name] for name in table.get("actions", ACTIONS)))
        denies = not table.get("allow", True)
        # What denies every delivery denies the subscription.
        if (action in given or action == "subscribe" and denies and "receive" in given) and applies(topic_filter):
            return DENIED if denies else table.get("qos", 2) | (MAY_RETAIN if table.get("retain", True) else 0)
    return DENIED


def matched(topic_filter):
    """Names a filter matches: all of the small alphabet, with one end for `#` that no other filter has."""
    levels = topic_filter.split(b"/")
    choices = [LEVELS if level == b"+" else [level] for level in levels if level != b"#"]
    for ends in product(*choices):
        for end in ENDS if levels[-1] == b"#" else [()]:
            name = b"/".join(ends + end)  # the empty one, which `/#` matches, counts though nobody can publish to it
            if matches(topic_filter, name):
                yield name


@given(filters, filters)
def test_covers_is_what_matching_says(wide, narrow):
    assert covers(wide, narrow) == all(matches(wide, name) for name in matched(narrow))


@given(filters)
def test_a_filter_covers_itself_and_less(topic_filter):
    assert covers(topic_filter, topic_filter)
    for name in NAMES:
        assert covers(topic_filter, name) == matches(topic_filter, name)


@given(st.lists(tables, max_size=5), st.lists(tables, max_size=2), users, client_ids, addresses,
       st.lists(names, min_size=1, max_size=8), st.lists(filters, max_size=5), st.integers(1, 4))
def test_decisions_equal_the_model(listed, own, user, client_id, address, asked, subscribed, room):
    acl = Acl(room)
    acl.replace([rule(table) for table in listed])
    access = acl.find(user, client_id, address, [rule(table) for table in own] if own else None, None)
    if access is None:
        assert not listed and not own
        return
    for name in asked + asked:  # decided, remembered, forgotten
        for action, verdict in (("publish", access.publish(name, 0)), ("receive", access.receive(name))):
            expected = model(own, listed, action, user, client_id, address, lambda f: matches(f, name))
            assert verdict == expected, (action, name)
    for topic_filter in subscribed:
        expected = model(own, listed, "subscribe", user, client_id, address, lambda f: covers(f, topic_filter))
        assert access.subscribe(topic_filter, 0) == expected, topic_filter


@given(st.lists(tables, max_size=3), st.lists(st.tuples(users, client_ids, addresses), min_size=1, max_size=12))
def test_clients_share_what_comes_out_the_same_and_nothing_is_left(listed, clients):
    acl = Acl(8)
    acl.replace([rule(table) for table in listed])
    held = []
    for user, client_id, address in clients:
        access = acl.find(user, client_id, address, None, None)
        if access is not None:
            access.hold()
            held.append(access)
    assert len({id(access) for access in held}) == len({access.entries for access in held}) == len(acl.shared)
    for access in held:
        access.release()
    assert acl.shared == {}


ips = (st.builds(IPv4Address, st.integers(0, 2**32 - 1)) | st.builds(IPv6Address, st.integers(0, 2**128 - 1))
       | st.builds(lambda low: IPv6Address(0xFFFF00000000 + low), st.integers(0, 2**32 - 1)))
near_ips = st.builds(str, ips) | st.text("0123456789abf:.%/", max_size=20) | st.from_regex(
    r"([0-9a-f]{0,4}:){1,8}([0-9a-f]{0,4}|[0-9]{1,3}(\.[0-9]{1,3}){3})", fullmatch=True)


def packed(ip):
    """The bytes of an address, IPv4 in IPv6 as IPv4."""
    mapped = getattr(ip, "ipv4_mapped", None)
    return (mapped or ip).packed


@given(near_ips)
def test_addresses_equal_those_of_the_standard_library(text):
    try:
        expected = None if "%" in text else packed(ip_address(text))
    except ValueError:
        expected = None
    if "%" not in text:
        assert address.parse(text) == expected


@given(ips, ips, st.integers(0, 128), st.booleans())
def test_networks_equal_those_of_the_standard_library(base, other, bits, near):
    bits = min(bits, base.max_prefixlen)
    if near and base.version == other.version:  # one that shares most of the prefix
        other = type(base)(int(base) ^ 1 << max(0, base.max_prefixlen - bits - 1 + (int(other) & 1)) & 2**base.max_prefixlen - 1)
    if getattr(base, "ipv4_mapped", None) is not None:
        return
    plain = getattr(other, "ipv4_mapped", None) or other
    expected = plain in ip_network((base, bits), strict=False)
    peer = "[%s]:1" % other if other.version == 6 else "%s:1" % other
    assert network.Network("%s/%d" % (base, bits)).contains(peer) == expected
