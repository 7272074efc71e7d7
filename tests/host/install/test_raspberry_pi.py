"""What boards/raspberry-pi ships: the systemd unit, the Dockerfile, the example configurations."""

import json
import re
import shlex
import shutil
import subprocess
import sys

from server_process import environment, free_port
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


def test_the_container_is_healthy_with_any_configuration(tmp_path):
    """The command of HEALTHCHECK itself; without pages, too, and where the environment says who may connect."""
    (health,) = [rest for name, rest in instructions() if name == "HEALTHCHECK"]
    command = json.loads(health[health.index("CMD") + 3 :])
    assert command[0] == "/opt/ucomqtt/bin/ucomqtt" == json.loads(dict(instructions())["ENTRYPOINT"])[0]
    assert command[command.index("--config") + 1] in json.loads(dict(instructions())["CMD"])
    text = (FOLDER / "docker.toml").read_text().replace("/var/lib/ucomqtt", str(tmp_path))
    pages = text.index('[[listener]]\nid = "info"')
    ports = {"1883": str(free_port()), "8083": str(free_port()), "8080": str(free_port())}
    for variant in (text, text[:pages] + text[text.index("[store]") :]):
        for port, other in ports.items():
            variant = variant.replace(port, other)
        file = tmp_path / "ucomqtt.toml"
        file.write_text(variant)
        here = [sys.executable, "-m", "port.cpython", *[word.replace("/etc/ucomqtt", str(tmp_path)) for word in command[1:]]]
        variables = {**environment(), "UCOMQTT_ANONYMOUS": "all"}
        assert subprocess.run(here, cwd=ROOT, env=variables, capture_output=True, timeout=60).returncode == 1
        broker = subprocess.Popen(
            [sys.executable, "-m", "port.cpython", "--config", str(file)], cwd=ROOT, env=variables, stderr=subprocess.PIPE, text=True
        )
        try:
            for line in broker.stderr:
                if "listening on" in line:
                    break
            done = subprocess.run(here, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=60)
            assert (done.returncode, done.stderr) == (0, ""), done.stderr
        finally:
            broker.terminate()
            broker.communicate(timeout=60)


def test_what_the_container_copies_can_be_installed(tmp_path):
    for name, rest in instructions():
        if name == "COPY" and "/source" in rest:
            *sources, target = shlex.split(rest)
            for source in sources:
                place = tmp_path / target.strip("/")
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    place.mkdir(parents=True, exist_ok=True)
                    shutil.copy(ROOT / source, place)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel"]
    done = subprocess.run(command, cwd=tmp_path / "source", capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
