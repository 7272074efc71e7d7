"""What every store of CPython has to do, on SQLite and on a real Redis server."""

import asyncio
import random
import threading
from typing import Any

import pytest
import redis

from database_servers import PASSWORD, redis_server  # noqa: F401
from port.cpython.stores.redis import RedisStore
from port.cpython.stores.sqlite import SQLiteStore
from stores import commit, content, kept, numbered


@pytest.fixture(params=["sqlite", "redis"])
def make(request, tmp_path):
    """make(durability="none"): a store, each of the same records."""
    if request.param == "sqlite":
        return lambda **values: SQLiteStore(tmp_path / "broker.db", **values)
    server = request.getfixturevalue("redis_server")
    with redis.Redis(port=server.port, password=PASSWORD) as client:
        client.flushall()
    return lambda **values: RedisStore("redis://127.0.0.1:%d/0" % server.port, password=PASSWORD, **values)


async def test_an_empty_store(make):
    store = make()
    assert list(store.load()) == []
    store.close()
    assert content(store) == []


async def test_records_come_back_in_the_order_of_their_keys(make):
    store = make()
    list(store.load())
    batch = [(b"\7b", b"1"), (b"\2\0\0\0\1", b""), (b"\7a\0\xff", bytes(range(256)) * 300), (b"\1", b"x"), (b"\7", b"2")]
    await kept(store, *batch)
    store.close()
    assert content(make()) == sorted(batch)


async def test_put_replace_and_remove(make):
    store = make()
    list(store.load())
    await kept(store, *numbered(range(1500)))
    await kept(store, *numbered(range(700, 1600), b"new"), *[(key, None) for key, _ in numbered(range(650))])
    await kept(store, (numbered([1599])[0][0], None), (b"\7never there", None), (b"\0", b"again"))
    store.close()
    assert content(make()) == [(b"\0", b"again")] + numbered(range(650, 700)) + numbered(range(700, 1599), b"new")


async def test_batches_of_all_sizes(make):
    """What is put and removed is counted in no way that a batch of some size could be cut short."""
    store = make()
    list(store.load())
    model: "dict[bytes, bytes]" = {}
    chance = random.Random(5)
    for size in [*range(1, 30), 63, 64, 65, 511, 512, 513, 1023, 1024, 1025]:
        keys = chance.sample(range(2000), size)
        batch = [(key, None if chance.random() < 0.4 else value) for key, value in numbered(keys, b"%d" % size)]
        await kept(store, *batch)
        for key, value in batch:
            if value is None:
                model.pop(key, None)
            else:
                model[key] = value
    store.close()
    assert content(make()) == sorted(model.items())


async def test_a_batch_that_cannot_be_written_leaves_nothing(make):
    store = make()
    list(store.load())
    wrong: "Any" = object()
    for _ in range(2):
        assert isinstance(await commit(store, (b"\7a", b"1"), (b"\7b", wrong), (b"\7c", b"3")), Exception)
    assert store.failures == 2
    await kept(store, *numbered([1]))
    store.close()
    assert content(make()) == numbered([1])


async def test_the_answer_comes_in_the_thread_of_the_loop(make):
    store = make()
    list(store.load())
    answer = asyncio.get_running_loop().create_future()
    store.commit(numbered([1]), lambda error: answer.set_result((error, threading.get_ident())))
    assert not answer.done()
    assert await answer == (None, threading.get_ident())
    store.close()


async def test_closing_waits_for_the_batch_under_way(make):
    store = make()
    list(store.load())
    answer = asyncio.get_running_loop().create_future()
    store.commit(numbered(range(3000)), answer.set_result)
    store.close()
    assert await answer is None
    assert content(make()) == numbered(range(3000))


async def test_a_store_that_is_not_open_says_so(make):
    store = make()
    assert "not open" in str(await commit(store, *numbered([1])))
    store.close()
    assert list(store.load()) == []
    store.close()
    assert "not open" in str(await commit(store, *numbered([1])))


async def test_a_second_broker_is_refused(make):
    first = make()
    list(first.load())
    for on_failure in ("refuse", "degrade"):
        with pytest.raises(OSError, match="in use, by another broker|in use by another broker"):
            make(on_failure=on_failure).load()
    await kept(first, *numbered([1]))
    first.close()
    assert content(make()) == numbered([1])


async def test_figures(make):
    store = make()
    list(store.load())
    await kept(store, *numbered(range(10)))
    await kept(store, *[(key, None) for key, _ in numbered(range(5))])
    figures = dict(store.figures())
    store.close()
    assert (store.batches, figures["records"], store.failures) == (2, 15, 0) and figures["longest"] >= 0


def test_who_waits(make):
    assert make().waits and make(durability="batch").waits and not make(durability="none").waits


def test_wrong_settings(make):
    for values, text in (
        ({"durability": "most"}, "durability must be one of none, batch.*, not 'most'"),
        ({"on_failure": "stop"}, "on_failure must be one of refuse, degrade, not 'stop'"),
        ({"backlog_bytes": 5}, "backlog_bytes must be from 65536 to .*, not 5"),
    ):
        with pytest.raises(ValueError, match=text):
            make(**values)
