"""tools/stress: attacks in small, by counts, bytes and counted work; and it notices what is wrong."""

import json
import subprocess
import sys

import pytest

from stressing.attacks import ATTACKS, Attack
from stressing.delivery import _take
from stressing.flood import Flood
from stressing.run import MIB, Row, Settings, faults, many_files, measure
from toolchain import ROOT

LIMIT = 64 * MIB
SMALL = Settings(seconds=1.0, settle=0.5, drain=30.0, clients=4, options={"max_memory": LIMIT})
BY_NAME = {attack.name: attack for attack in ATTACKS}


@pytest.mark.parametrize("name", ["C1a", "C1d", "H1", "H2", "H7f", "H8a", "H8b", "P1a"])
def test_an_attack_in_small(name):
    many_files()
    attack = BY_NAME[name]
    row = measure(attack, SMALL)
    honest = row.attacked
    assert honest["sent"] and not honest["lost"] and not honest["refused"] and not honest["disconnected"], honest
    assert honest["let in"] == honest["tried"] > 0, honest
    assert row.memory["rss peak"] <= 1.25 * LIMIT and row.memory["after"] <= LIMIT, row.memory
    # A turn and what its last packet asked for, which is no more than another one.
    assert 0 < row.slices["read"]["work"] <= 2 * row.counters["turn"], row.slices
    if attack.delivery:
        assert row.tally["delivered"] == row.tally["expected"], row.tally


# -- the tool itself ------------------------------------------------------------------------------------


def test_it_says_what_is_there():
    done = subprocess.run([sys.executable, str(ROOT / "tools" / "stress"), "--list"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == [attack.name for attack in ATTACKS]


def test_an_attack_that_does_not_exist():
    done = subprocess.run([sys.executable, str(ROOT / "tools" / "stress"), "--only", "X1"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "no such attack: X1" in done.stderr


def test_strangers_that_are_turned_away_and_messages_that_are_lost_are_seen():
    """With room for the honest clients alone, and packets too small for their messages' acknowledgement to matter."""
    quiet = Attack("quiet", "nothing", lambda case: [[Flood(lambda number: b"")]], options={"max_connections": 4})
    row = measure(quiet, SMALL)
    assert row.attacked["let in"] == 0 < row.attacked["tried"]
    assert not row.attacked["lost"]
    assert any("strangers turned away" in text for text in row.wrong), row.wrong
    assert json.dumps(row.tally)


def test_goals():
    honest = {"sent": 9, "lost": 0, "refused": 0, "disconnected": 0, "tried": 5, "let in": 5, "p99": 30.0}
    slices = {"count": 9, "total": 9.0, "longest": 9.0, "long": 0, "worst": 0}
    memory = {"before": MIB, "after": MIB, "rss before": MIB, "rss peak": 320 * MIB, "rss after": MIB}
    attack = Attack("A", "said", tally={"CONNACK 134": 20})

    def row(**changes):
        fields = {"attacked": honest, "idle": {**honest, "p99": 5.0}, "slices": {"read": slices}, "memory": memory, **changes}
        return Row("A", "said", **fields)

    assert faults(row(), attack) == []
    for changes, text in (
        ({"attacked": {**honest, "p99": 31.0}}, "p99 +26 ms"),
        ({"attacked": {**honest, "lost": 1}}, "1 messages lost"),
        ({"attacked": {**honest, "let in": 4}}, "1 of 5 strangers turned away"),
        ({"slices": {"read": {**slices, "longest": 51.0}}}, "read of 51 ms"),
        ({"slices": {"read": {**slices, "long": 2}}}, "2 of 9 of kind read over 10 ms"),
        ({"memory": {**memory, "rss peak": 321 * MIB}}, "321 MiB at the peak"),
        ({"memory": {**memory, "after": 257 * MIB}}, "257 MiB afterwards"),
        ({"tally": {"CONNACK 134": 21}}, "CONNACK 134: 21 times"),
        ({"log_bytes": 200_000}, "0.2 MB of log"),
    ):
        assert faults(row(**changes), attack) == [text]
    assert faults(row(tally={"expected": 2, "delivered": 1}), Attack("P", "said", delivery=(1, 2, 1, 1))) == ["1 of 2 delivered"]


def test_messages_are_counted_once_and_acknowledged_each_time():
    packet = b"\x32\x07\x00\x01t\x00\x05ab"
    seen: "set[bytes]" = set()
    rest, acks = _take(packet * 2 + b"\xd0\x00" + packet[:4], seen)
    assert (rest, acks, seen) == (packet[:4], b"\x40\x02\x00\x05" * 2, {b"ab"})
