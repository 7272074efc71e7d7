"""The commands of `ucomqtt`: one table, of which all helps are made; `check` and `health`."""

import os
import re
import socket
import subprocess
import sys
import threading
import tomllib

import pytest

import configuration
from certificates import certificates  # noqa: F401
from drivers import TIMEOUT
from port.cpython.cli import COMMANDS, HELP
from port.cpython.extras import EXTRAS, install
from server_process import environment, free_port
from toolchain import ROOT

UCOMQTT = [sys.executable, "-m", "port.cpython"]


def ucomqtt(*arguments, **options):
    """Run the program to its end."""
    return subprocess.run(
        [*UCOMQTT, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        env={**environment(), **options.pop("variables", {})},
        **options,
    )


def test_help_lists_the_commands():
    for arguments in (["--help"], [HELP]):
        done = ucomqtt(*arguments)
        listed = re.findall(r"^  ([a-z][a-z-]+) {2,}\w", done.stdout, re.MULTILINE)
        assert listed == [row.name for row in COMMANDS] + [HELP] and done.returncode == 0


@pytest.mark.parametrize("name", [row.name for row in COMMANDS])
def test_each_command_explains_itself(name):
    done = ucomqtt(HELP, name)
    assert done.returncode == 0 and done.stdout == ucomqtt(name, "--help").stdout
    assert done.stdout.startswith(f"usage: python3 -m port.cpython {name} ")
    assert "%" not in done.stdout.replace("%t", "").replace("%p", "") or name == "sub"
    wrong = ucomqtt(name, "--no-such-option")
    assert wrong.returncode == 2 and "Traceback" not in wrong.stderr


@pytest.mark.parametrize("arguments", [["pasword"], ["help", "pasword"]])
def test_a_command_that_is_not_there(arguments):
    done = ucomqtt(*arguments)
    assert done.returncode == 2 and "unknown command pasword, did you mean passwd?" in done.stderr


def test_a_configuration_is_no_command(tmp_path):
    (tmp_path / "broker.toml").write_text("")
    done = ucomqtt(tmp_path / "broker.toml")
    assert done.returncode == 2 and f"did you mean --config {tmp_path}/broker.toml?" in done.stderr


def test_check(tmp_path):
    file = tmp_path / "broker.toml"
    file.write_text("max_connections = 3\n")
    done = ucomqtt("check", file)
    assert done.returncode == 0 and "the configuration is right" in done.stderr
    file.write_text("max_connections = 0\n")
    done = ucomqtt("check", file)
    assert done.returncode == 2 and done.stderr == ucomqtt("--config", file, "--check-config").stderr


def test_the_libraries_of_commands_are_missed_by_name(tmp_path):
    """Without paho-mqtt and cryptography, as after a plain `pip install ucomqtt`."""
    for name in ("paho", "cryptography"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError")
    variables = {"PYTHONPATH": f"{tmp_path}:{environment()['PYTHONPATH']}"}
    for arguments, named in (
        (["pub", "-t", "a", "-m", "b"], "paho-mqtt"), (["sub", "-t", "a"], "paho-mqtt"),
        (["cert", tmp_path / "x"], "cryptography"),
    ):  # fmt: skip
        done = ucomqtt(*arguments, variables=variables)
        (hint,) = (install(extra) for extra in ("client", "cert") if named in install(extra))
        assert done.returncode == 1 and named in done.stderr and done.stderr.endswith(": %s\n" % hint), done.stderr
        done = ucomqtt(HELP, arguments[0], variables=variables)
        assert done.returncode == 0 and hint in " ".join(done.stdout.split())


def test_what_is_missing_can_be_installed():
    """The libraries are named, which every index has, with the versions that the extras of the package ask for."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {name: tuple(found) for name, found in extras.items() if name not in ("all", "dev")} == EXTRAS
    assert install("client") == "pip install 'paho-mqtt>=2'" and install("uvloop") == "pip install uvloop"


def test_nobody_reads_what_a_command_prints(tmp_path):
    (tmp_path / "mosquitto.conf").write_text("user x\n" * 5000)
    assert (
        ucomqtt(
            "store", "import", "--file", tmp_path / "broker.db", input='{"ucomqtt": "store", "version": 1}\n{"records": 0}\n'
        ).returncode
        == 0
    )
    for arguments in (
        ["from-mosquitto", str(tmp_path / "mosquitto.conf")],
        ["store", "export", "--file", str(tmp_path / "broker.db")],
        ["store", "check", "--file", str(tmp_path / "broker.db")],
        ["--print-config"],
        ["--help"],
        [HELP],
        [HELP, "sub"],
        ["sub", "--help"],
    ):
        reader, writer = os.pipe()
        os.close(reader)  # before the command starts: it is never the faster one
        done = subprocess.run(
            [*UCOMQTT, *arguments], cwd=ROOT, env=environment(), stdout=writer, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT
        )
        os.close(writer)
        allowed = (0, 1) if arguments[-1] == "--help" or HELP in arguments else (1,)  # argparse passes over it for a long help
        assert done.stderr == "" and done.returncode in allowed
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [*UCOMQTT, *arguments], cwd=ROOT, env=environment(), stdout=full, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT
            )
        assert done.returncode in allowed and "Traceback" not in done.stderr
        assert done.returncode == 0 or re.fullmatch("ucomqtt: .*No space left on device\n", done.stderr)


def test_nobody_reads_what_is_said_on_standard_error(tmp_path):
    """What has been printed before that is kept all the same."""
    read, write = os.pipe()
    os.close(read)
    with open(tmp_path / "output", "w+") as output, open(write, "w") as nobody:
        command = [*UCOMQTT, "--print-config", "--check-config"]
        done = subprocess.run(command, cwd=ROOT, env=environment(), stdout=output, stderr=nobody, timeout=TIMEOUT)
        assert done.returncode == 1
        output.seek(0)
        assert output.read() == ucomqtt("--print-config").stdout


def readme(text):
    """The one block of the commands' README that has this text."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "port" / "cpython" / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    (found,) = [block for block in blocks if text in block]
    return found


def test_examples_of_the_readme(tool, start_broker, tmp_path):
    tool("mosquitto")
    broker = start_broker("cpython")
    program = f"""set -eu
ucomqtt() {{
    name=$1; shift
    case $name in pub | sub) set -- "$@" -p {broker.port};; esac
    {sys.executable} -m port.cpython "$name" "$@"
}}
"""
    for text, printed in (("ucomqtt sub -t", "sensors/kitchen: 21.5\n"), ("ucomqtt from-mosquitto", "")):
        done = subprocess.run(
            ["sh", "-c", program + readme(text) + "wait\n"],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=4 * TIMEOUT,
        )
        assert (done.returncode, done.stdout) == (0, printed), done.stderr


# -- health -------------------------------------------------------------------------------------

MADE = ("server.pem", "server.key", "ca.pem")
TLS = {"certificate": "server.pem", "key": "server.key"}
LISTENERS = {
    "nothing but a port": ({}, "PINGRESP"),
    "users": ({"auth": [{"type": "users", "users": {}}], "listener": [{}]}, "CONNACK 5"),
    "MQTT 5 alone": ({"accept_protocol_versions": [5], "listener": [{}]}, "CONNACK 1"),
    "every address": ({"listener": [{"host": "0.0.0.0"}]}, "PINGRESP"),
    "pages beside": ({"listener": [{}, {"type": "http", "port": 0}]}, "HTTP/1.1 200 OK"),
    "pages with users": ({"auth": [{"type": "users", "users": {}}], "listener": [{"type": "http"}]}, "HTTP/1.1 200 OK"),
    "socket": ({"listener": [{"type": "unix", "file": "socket"}]}, "PINGRESP"),
    "websocket": ({"listener": [{"type": "websocket", "paths": ["*"]}]}, "HTTP/1.1 4"),
    "tls": ({"listener": [{"tls": TLS}]}, "PINGRESP"),
    "certificates of clients": ({"listener": [{"tls": {**TLS, "client_ca": "ca.pem"}}]}, "TLS, "),
    "proxy": ({"listener": [{"proxy_protocol": True, "trusted_proxies": ["192.0.2.0/24"]}]}, "the connection was ended"),
    "proxy on this machine": ({"listener": [{"proxy_protocol": True}]}, "CONNACK 5"),
}  # fmt: skip


@pytest.mark.parametrize("values, answer", LISTENERS.values(), ids=LISTENERS)
def test_health(values, answer, tmp_path, certificates):  # noqa: F811
    """The broker of any configuration is asked in a way that it answers."""
    for name in MADE:
        (tmp_path / name).write_bytes((certificates().path / name).read_bytes())
    values = {"port": free_port(), **values} if "listener" not in values else values
    listeners = [entry if entry.get("type") == "unix" else {**entry, "port": free_port()} for entry in values.get("listener", ())]
    path = configuration.write(tmp_path / "broker.toml", "cpython", {**values, **({"listener": listeners} if listeners else {})})
    broker = subprocess.Popen([*UCOMQTT, "--config", path], cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True)
    try:
        for line in broker.stderr:
            if "listening" in line:
                break
        done = ucomqtt("health", "--config", path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("alive: " + answer), done.stdout
    finally:
        broker.terminate()
        broker.communicate(timeout=TIMEOUT)
    done = ucomqtt("health", "--config", path)
    assert done.returncode == 1 and done.stderr.startswith("ucomqtt: health: listener ")


def test_health_of_what_does_not_answer(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        done = ucomqtt("health", "--port", port, "--timeout", 0.1)
        assert done.returncode == 1 and "no answer in 0.1 s" in done.stderr

        def answer():
            other, _ = silent.accept()
            other, _ = silent.accept()
            with other:
                other.recv(100)
                other.sendall(b"SSH-2.0-nothing")

        thread = threading.Thread(target=answer)
        thread.start()
        done = ucomqtt("health", "--port", port)
        thread.join(TIMEOUT)
        assert done.returncode == 1 and "this is no answer of a broker" in done.stderr
    done = ucomqtt("health", "--config", tmp_path / "nowhere")
    assert done.returncode == 2 and "nowhere" in done.stderr
