"""What tests of stores share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from port.cpython.stores.writer import WriterStore

WAIT = 60.0  # s


async def commit(store: WriterStore, *batch: tuple[bytes, bytes | None]) -> Exception | None:
    """Commit one batch as the broker does; what `done` is given."""
    answer: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
    store.commit(list(batch), answer.set_result)
    return await asyncio.wait_for(answer, WAIT)


async def kept(store: WriterStore, *batch: tuple[bytes, bytes | None]) -> None:
    """Commit a batch, and see that it is."""
    error = await commit(store, *batch)
    assert error is None, error


def content(store: WriterStore) -> list[tuple[bytes, Any]]:
    """All records: open the store and close it again."""
    found = list(store.load())
    store.close()
    return found


def numbered(numbers: Iterable[int], value: bytes = b"") -> list[tuple[bytes, bytes | None]]:
    """Records with these numbers as their keys."""
    return [(b"\5" + number.to_bytes(6, "big"), value or b"value of %d" % number) for number in numbers]
