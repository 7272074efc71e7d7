"""tools/deploy with the virtual board, over its serial line. UCOMQTT_FULL=1 copies the broker, too, which takes 20 s."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

import toolchain
from deployment.device import DeployError, Facts, place_of_broker
from drivers.paho import Paho
from port.core import __version__

FULL = os.environ.get("UCOMQTT_FULL") == "1"


def deploy(board, *arguments, stdin=""):
    """Run it: (exit status, what it printed)."""
    done = subprocess.run([sys.executable, "tools/deploy", board.console, "--board", "qemu-mps2", *arguments], input=stdin,
                          cwd=toolchain.ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
    assert "Traceback" not in done.stdout, done.stdout
    return done.returncode, done.stdout


def exchange(board):
    """Only alice may, and what she publishes she gets."""
    with pytest.raises(AssertionError, match="Not authorized"):
        Paho(board.port, "nobody", 5)
    client = Paho(board.port, "somebody", 5, user="alice", password="alices-secret")
    client.subscribe("a", 1)
    client.publish("a", b"1", 1)
    assert client.receive().payload == b"1"
    client.disconnect()


def test_broker_of_the_firmware(start_board, mpremote):
    """It gets a configuration and a main program, and is there with them after a reset."""
    board = start_board()
    assert deploy(board, "--ssid", "home", "--anonymous")[1].endswith("deploy: --ssid: this board has no Wi-Fi\n")
    code, text = deploy(board, "--user", "alice", stdin="alices-secret\n")
    assert code == 0, text
    assert f"its firmware has ucomqtt {__version__}, no files of it are copied" in text
    assert "writing 2 files" in text
    assert "ucomqtt: listening at 10.0.2.15" in text
    exchange(board)
    assert sorted(mpremote(board, "exec", "import os; print(*os.listdir())").split()) == ["config.json", "main.py"]


@pytest.mark.skipif(not FULL, reason="UCOMQTT_FULL=1 copies 105 KB over a serial line")
def test_copy_of_the_broker(start_board, mpremote):
    """It comes before the one in the firmware, and must not be forgotten there."""
    board = start_board()
    code, text = deploy(board, "--copy", "--package", "without-web", "--user", "alice", stdin="alices-secret\n")
    assert code == 0, text
    exchange(board)
    assert "ImportError" in mpremote(board, "exec", "try:\n import port.web\nexcept ImportError as e: print(repr(e))")
    code, text = deploy(board)
    assert code == 1 and "mpremote rm -r :port" in text


def test_where_the_broker_goes():
    facts = Facts(platform="rp2", version=(1, 25, 0), mpy=6, block=4096, free=1 << 20, wlan=True, files=["port", "lib"])
    assert place_of_broker(facts, "1.0", False) == place_of_broker(facts, "1.0", True) == "lib/"
    facts = replace(facts, frozen="1.0")
    assert place_of_broker(facts, "1.1", False) == place_of_broker(facts, "1.0", True) == ""  # before the firmware's
    with pytest.raises(DeployError, match="the folder port"):
        place_of_broker(facts, "1.0", False)
    assert place_of_broker(replace(facts, files=["lib"]), "1.0", False) is None
