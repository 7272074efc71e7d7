"""The manual and the completion of shells, made of the command lines and the tables of options."""

import os
import re
import subprocess

import pytest

from distribution import pages
from drivers import TIMEOUT
from port.core.limits.options import TABLE
from port.core.config.listener_config import LISTENER_KEYS
from port.cpython.cli import COMMANDS


@pytest.fixture(scope="module")
def share(tmp_path_factory):
    """The folder they are in, as it is below a prefix."""
    folder = tmp_path_factory.mktemp("share")
    pages.share(folder)
    return folder


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, stdin=subprocess.DEVNULL, **options)
    return done.returncode, done.stdout, done.stderr


MANUAL = ("man/man1/ucomqtt.1", "man/man5/ucomqtt.toml.5")


@pytest.mark.parametrize("name", MANUAL)
def test_the_manual_is_well_formed(tool, share, name):
    assert run(tool("mandoc"), "-T", "lint", "-W", "warning", str(share / name)) == (0, "", "")
    status, text, warnings = run(
        tool("man"), "--warnings", "-l", str(share / name), env={**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8"}
    )
    assert (status, warnings) == (0, "") and text.startswith("ucomqtt")


def words(tool, path):
    """What a reader sees, in one line."""
    status, text, _ = run(tool("mandoc"), "-T", "utf8", "-O", "width=1000", str(path))
    assert status == 0
    return re.sub(r".\x08", "", text)


def test_the_manual_names_all_there_is(tool, share):
    text = words(tool, share / MANUAL[0])
    for row in TABLE:
        assert "\n     --%s " % row[0].replace("_", "-") in text.replace("       --", "     --"), row[0]
    for command in COMMANDS:
        assert f"UCOMQTT {command.name.upper()}\n" in text and command.text in text.lower().replace(
            command.text.lower(), command.text
        )
    for option in ("-h, --host HOST", "--will-payload TEXT", "-F FORMAT", "--iterations ITERATIONS", "FOLDER"):
        assert f" {option} " in text or f" {option}\n" in text, option
    assert "%t topic, %p payload" in text and "default 60" in text
    text = words(tool, share / MANUAL[1])
    for key in (
        [row[0] for row in TABLE]
        + list(LISTENER_KEYS)
        + ["client_ca", "crl", "psk_file", "durability", "secret_file", "topic", "acl_file"]
    ):
        assert re.search(rf"^ +{key}\b", text, re.MULTILINE), key


COMPLETED = [
    ("pa", ["passwd"]),
    ("from", ["from-mosquitto"]),
    ("h", ["health", "help"]),
    ("--queue-f", ["--queue-full"]),
    ("--queue-full ", ["disconnect", "newest", "oldest"]),
    ("--retain-available ", ["false", "true"]),
    ("pub --will-t", ["--will-topic"]),
    ("store ba", ["backup"]),
    ("store backup --co", ["--config"]),
    ("check bro", ["broker.toml"]),
    ("--config bro", ["broker.toml"]),
    ("help from", ["from-mosquitto"]),
]

BASH = """
source %s
read -r _ _ _ function _ <<< "$(complete -p ucomqtt | sed 's/.*-F \\([^ ]*\\).*/x x x \\1 x/')"
COMP_LINE="$1" COMP_POINT=${#1}
read -ra COMP_WORDS <<< "$1"
[[ "$1" == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
"$function" ucomqtt "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize("typed, expected", COMPLETED)
def test_bash_completes(tool, share, tmp_path, typed, expected):
    (tmp_path / "broker.toml").write_text("")
    script = BASH % (share / pages.PLACES["bash"])
    status, output, errors = run(tool("bash"), "-c", script, "bash", "ucomqtt " + typed, cwd=tmp_path)
    assert (sorted(output.split()), errors) == (expected, "")


@pytest.mark.parametrize("typed, expected", COMPLETED)
def test_fish_completes(tool, share, tmp_path, typed, expected):
    (tmp_path / "broker.toml").write_text("")
    script = f"source {share / pages.PLACES['fish']}; complete -C 'ucomqtt {typed}'"
    status, output, errors = run(
        tool("fish"), "--no-config", "-c", script, cwd=tmp_path, env={**os.environ, "HOME": str(tmp_path)}
    )
    assert (sorted(line.partition("\t")[0] for line in output.splitlines()), errors) == (expected, "")


def test_zsh_knows_the_command(tool, share, tmp_path):
    place = share / pages.PLACES["zsh"]
    script = f"fpath=({place.parent} $fpath); autoload -U compinit; compinit -D; print $_comps[ucomqtt]"
    script += "; autoload +X -U _ucomqtt && print loaded"
    assert run(tool("zsh"), "-f", "-c", script, cwd=tmp_path) == (0, "_ucomqtt\nloaded\n", "")
    assert run(tool("zsh"), "-n", str(place)) == (0, "", "")
