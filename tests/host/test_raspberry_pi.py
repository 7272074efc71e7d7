"""What boards/raspberry-pi ships: the systemd unit, the Dockerfile, the example configurations."""

import re
import shlex
import subprocess
import sys

from toolchain import ROOT

FOLDER = ROOT / "boards" / "raspberry-pi"


def unit_for_this_machine(tmp_path):
    """A copy of the unit whose program exists here: systemd-analyze looks for it."""
    text = (FOLDER / "ucomqtt.service").read_text()
    path = tmp_path / "ucomqtt.service"
    path.write_text(text.replace("/opt/ucomqtt/bin/ucomqtt", "%s -m port.cpython" % sys.executable))
    return path


def test_systemd_finds_nothing_to_complain_about(tool, tmp_path):
    done = subprocess.run(
        [tool("systemd-analyze"), "verify", str(unit_for_this_machine(tmp_path))], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and not done.stdout + done.stderr, done.stdout + done.stderr


def test_the_unit_is_hardened(tool, tmp_path):
    """systemd's own scale goes from 0 (safe) to 10; an ordinary service has 9.6. The threshold is in tenths."""
    done = subprocess.run(
        [tool("systemd-analyze"), "security", "--offline=true", "--threshold=15", str(unit_for_this_machine(tmp_path))],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-300:]
    assert "User=ucomqtt" in (FOLDER / "ucomqtt.service").read_text()


def instructions():
    """The Dockerfile's instructions, lines joined."""
    text = re.sub(r"^#.*\n", "", (FOLDER / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [line.split(None, 1) for line in text.splitlines() if line.strip()]


def test_the_container_runs_as_somebody_else_than_root():
    users = [rest for name, rest in instructions() if name == "USER"]
    assert users == ["ucomqtt"]
    made = [rest for name, rest in instructions() if name == "RUN" and "useradd" in rest]
    assert len(made) == 1
    for name, rest in instructions():
        if name == "FROM":
            assert re.fullmatch(r"python:[\d.]+-slim( AS \w+)?", rest)


def test_what_the_container_copies_is_there():
    for name, rest in instructions():
        if name == "COPY" and "--from" not in rest:
            for source in shlex.split(rest)[:-1]:
                assert (ROOT / source).exists(), source


def test_the_commands_of_the_readme_exist():
    text = (FOLDER / "README.md").read_text()
    for path in re.findall(r"boards/raspberry-pi/[\w.]+|tools/\w+", text):
        assert (ROOT / path).exists(), path
