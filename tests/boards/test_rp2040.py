"""The broker on an emulated RP2040. UCOMQTT_FULL=1 builds the firmware, which takes two to four minutes."""

import json
import os

import pytest

import toolchain
from debian.archive import Unavailable
from firmwares import rp2040

FULL = os.environ.get("UCOMQTT_FULL") == "1"
LEAST_MODULES = 30 * 1024  # bytes a Server takes, of a heap of 190 KB or more
FLASH = 1200 * 1024 - 400 * 1024  # what a Pico W has for the firmware, without its Wi-Fi and Bluetooth


def test_uf2():
    """Blocks of 512 bytes, as a Pico's boot loader wants them."""
    image = rp2040.uf2(bytes(range(256)) + b"end")
    assert len(image) == 1024
    for i, data in enumerate((bytes(range(256)), b"end" + bytes(253))):
        block = image[512 * i:512 * i + 512]
        words = [int.from_bytes(block[n:n + 4], "little") for n in range(0, 32, 4)]
        assert words == [0x0A324655, 0x9E5D5157, 0x2000, 0x10000000 + 256 * i, 256, i, 2, 0xE48BFF56]
        assert block[32:288] == data and block[288:508] == bytes(220) and block[508:] == bytes.fromhex("306fb10a")


@pytest.mark.skipif(not FULL, reason="UCOMQTT_FULL=1 builds a firmware")
def test_broker():
    try:
        printed = rp2040.start(rp2040.CHECK)
    except Unavailable as error:
        (pytest.fail if toolchain.in_ci() else pytest.skip)(str(error))
    found = json.loads(printed.splitlines()[-1])
    assert not found["wrong"]
    assert found["sockets"] == 24
    assert found["heap"] > 190_000 and found["Server()"] - found["before"] < LEAST_MODULES
    size, ours, heap = rp2040.facts()
    assert 50_000 < ours < size < FLASH and heap >= found["heap"]
