"""Shows that the runner works on both runtimes."""

import asyncio
import sys

import port.core


def test_version():
    assert port.core.__version__.count(".") == 2


async def test_async():
    await asyncio.sleep(0)
    assert sys.path
