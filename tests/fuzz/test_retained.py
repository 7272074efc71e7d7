"""The retained store against a dict."""

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from port.core.wire.topics import matches
from port.core.messages import retained
from port.core.messages.message import Message
from port.core.messages.retained import Retained
from topic_strategies import filters, names

if TYPE_CHECKING:
    from port.core.messages.retained import Record

put = st.tuples(st.just("put"), names, st.binary(min_size=1, max_size=30), st.none() | st.integers(0, 50))
remove = st.tuples(st.just("remove"), names, st.just(b""), st.none())
expire = st.tuples(st.just("expire"), st.just(b""), st.just(b""), st.integers(0, 50))


@given(st.lists(put | put | remove | expire, max_size=40), filters, st.integers(0, 12) | st.just(5000), st.integers(0, 5000))
def test_store_is_a_bounded_dict(steps, topic_filter, max_count, max_bytes):
    store = Retained(max_count, max_bytes)
    model: dict[bytes, Message] = {}
    for step, name, payload, time in steps:
        if step == "put":
            message = Message(name, payload, 0, True, b"", time)
            after = {**model, name: message}
            fits = len(after) <= max_count and sum(size(m) for m in after.values()) <= max_bytes
            assert store.put(retained.record(message)) == fits
            if fits:
                model = after
        elif step == "remove":
            assert store.remove(name) == (name in model)
            model.pop(name, None)
        else:
            gone = [n for n, m in model.items()
                    if m.expires is not None and m.expires <= time]
            assert sorted(expired_names(store, time)) == sorted(gone)
            for n in gone:
                del model[n]
        assert store.count == len(model)
        assert store.bytes == sum(size(m) for m in model.values())
        assert same(store.get(name), model.get(name))
        expected = {n for n in model if matches(topic_filter, n)}
        found = store.matching(topic_filter)
        assert {record[0] for record in found} == expected
        assert len(found) == len(expected)
        assert all(same(record, model[record[0]]) for record in found)
    for name in list(model):
        store.remove(name)
    assert (store.count, store.bytes) == (0, 0)
    assert not store.root


def size(message: Message) -> int:
    """Bytes it counts for."""
    return Retained(1, 1).size_of(retained.record(message))


def same(record: "Record | None", message: Message | None) -> bool:
    """Whether what the store has of a message is the message."""
    if record is None or message is None:
        return record is None and message is None
    again = retained.retained_message(record)
    return all(getattr(again, name) == getattr(message, name)
               for name in ("name", "payload", "qos", "retain", "properties", "expires"))


def expired_names(store: Retained, time: int) -> list[bytes]:
    """Let expire; the names that have gone."""
    def names_left() -> set[bytes]:
        return {record[0] for record in store.matching(b"#") + store.matching(b"$SYS/#") + store.matching(b"$x/#")}

    before = names_left()
    gone = store.expire_some(time, 10000)
    assert not store.sweeping
    assert sorted(gone) == sorted(before - names_left())
    return gone
