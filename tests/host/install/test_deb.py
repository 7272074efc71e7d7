"""The Debian package: lintian finds nothing, and the unit's own command runs with the restrictions that the unit names."""

import os
import re
import subprocess
import sys

import pytest

import unit
from toolchain import ROOT, in_ci

FILES = (
    "usr/bin/ucomqtt", "etc/ucomqtt/ucomqtt.toml", "usr/lib/systemd/system/ucomqtt.service", "usr/lib/sysusers.d/ucomqtt.conf",
    "usr/share/man/man1/ucomqtt.1.gz", "usr/share/man/man5/ucomqtt.toml.5.gz", "usr/share/bash-completion/completions/ucomqtt",
    "usr/share/zsh/vendor-completions/_ucomqtt", "usr/share/fish/vendor_completions.d/ucomqtt.fish", 
    "usr/share/doc/ucomqtt/copyright",
    "usr/share/ucomqtt/port/core/broker.py",
)  # fmt: skip
TIMEOUT = 120


@pytest.fixture(scope="module")
def package(tool, tmp_path_factory):
    tool("dpkg-deb")
    folder = tmp_path_factory.mktemp("deb")
    done = subprocess.run([sys.executable, ROOT / "tools" / "deb", folder], capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = folder.iterdir()
    return found


@pytest.fixture(scope="module")
def tree(package, tmp_path_factory):
    """What is in it."""
    folder = tmp_path_factory.mktemp("tree")
    subprocess.run(["dpkg-deb", "--raw-extract", package, folder], check=True, timeout=TIMEOUT)
    return folder


def test_lintian_finds_nothing(tool, package):
    command = [tool("lintian"), "--allow-root", "--fail-on", "error,warning", "--tag-display-limit", "0", str(package)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_what_is_in_it(tree):
    for name in FILES:
        assert (tree / name).is_file(), name
    assert (tree / "DEBIAN" / "conffiles").read_text() == "/etc/ucomqtt/ucomqtt.toml\n"
    assert not list(tree.rglob("__pycache__")) and not (tree / "usr/share/ucomqtt/port/micropython").exists()
    for name in ("etc/ucomqtt/ucomqtt.toml", "usr/lib/systemd/system/ucomqtt.service"):
        assert "/opt/" not in (tree / name).read_text() and "/usr/bin/ucomqtt" in (tree / name).read_text()
    # users.txt is made with the package, and -c is for a file that is not there yet.
    assert "#   sudo /usr/bin/ucomqtt passwd /etc/ucomqtt/users.txt alice\n" in (tree / "etc/ucomqtt/ucomqtt.toml").read_text()


def unit_text(tree, port_443=False):
    """The unit, with what is to be uncommented for port 443."""
    text = (tree / "usr/lib/systemd/system/ucomqtt.service").read_text()
    if port_443:
        text, count = re.subn(r"^#(\w+=)", r"\1", text, flags=re.MULTILINE)
        assert count == 3
    return text


@pytest.mark.parametrize("port_443", [False, True])
def test_systemd_takes_the_unit(tool, tree, tmp_path, port_443):
    """It is safe on systemd's own scale, on which 0 is best and an ordinary service has 9.6; the threshold is in tenths."""
    path = tmp_path / "ucomqtt.service"
    path.write_text(unit_text(tree, port_443).replace("/usr/bin/ucomqtt", f"{sys.executable} -m port.cpython"))
    done = subprocess.run([tool("systemd-analyze"), "verify", "--man=no", path], capture_output=True, text=True, timeout=TIMEOUT)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    command = [tool("systemd-analyze"), "security", "--offline=true", "--threshold=%d" % (18 if port_443 else 15), path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 0, done.stdout[-300:]


# -- installed and run ------------------------------------------------------------------------------


@pytest.fixture
def run(tool, package, tree):
    """Install the package where nothing is left of it, and do something there; what that has printed, and the errors."""
    if os.geteuid() != 0:
        (pytest.fail if in_ci() else pytest.skip)("it takes root")
    for name in ("unshare", "setpriv", "mosquitto_pub", "mosquitto_sub", "strace"):
        tool(name)

    def run(body, port_443=False):
        text = unit_text(tree, port_443)
        found = unit.settings(text)
        body = body.replace("EXEC_START", found["ExecStart"]).replace("EXEC_PRE", found["ExecStartPre"])
        script = unit.script(found, package, body.replace("EXEC_RELOAD", found["ExecReload"].replace("$MAINPID", "$broker")))
        command = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "bash", "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout, done.stderr

    return run


WAIT = """
for _ in $(seq 100); do
    ucomqtt health --config /etc/ucomqtt/ucomqtt.toml >/tmp/health 2>&1 && break
    sleep 0.1
done
cat /tmp/health
"""
BODY = f"""
printf 'secret\\n' | ucomqtt passwd /etc/ucomqtt/users.txt alice
restrict
(restricted sh -c 'id -un; sed -n "s/Cap\\(Eff\\|Prm\\|Amb\\):\\t/\\1 /p; s/NoNewPrivs:\\t/nnp /p" /proc/self/status
    for folder in / /etc /usr /var /var/lib /run /home /root /tmp /var/lib/ucomqtt /run/ucomqtt; do
        touch "$folder/written" 2>/dev/null && echo "writes $folder"
    done; ls /dev | tr "\\n" " "; echo')
(restricted EXEC_PRE)
(restricted strace -f -qq -o /var/lib/ucomqtt/trace EXEC_START) &
tracer=$!
{WAIT}
broker=$(cat /proc/$tracer/task/$tracer/children)
mosquitto_pub -u alice -P secret -t home/alice/x -m kept -q 1 -r
mosquitto_sub -u alice -P secret -t home/alice/x -C 1
mosquitto_pub -u alice -P wrong -t x -m x 2>/dev/null || echo "refused"
EXEC_RELOAD
sleep 0.3
kill $broker
wait $tracer
echo "exit status $?"
(restricted EXEC_START 2>/dev/null) &
broker=$!
{WAIT}
mosquitto_sub -u alice -P secret -t home/alice/x -C 1
stat -c "%U %a %n" /var/lib/ucomqtt/broker.db
kill $broker
wait $broker
(restricted ucomqtt --host 0.0.0.0 --port 443) || echo "no port 443"
sed -n 's/^[0-9]* *\\([a-z0-9_]*\\)(.*/call \\1/p' /var/lib/ucomqtt/trace | sort -u
"""


def allowed_calls(tool, text):
    """The system calls that the unit allows."""

    def members(name):
        if not name.startswith("@"):
            return {name}
        done = subprocess.run(
            [tool("systemd-analyze"), "syscall-filter", name], capture_output=True, text=True, check=True, timeout=TIMEOUT
        )
        words = [
            line.strip() for line in done.stdout.splitlines()[1:] if line.startswith("  ") and not line.strip().startswith("#")
        ]
        return set().union(*map(members, words))

    found: "set[str]" = set()
    for line in re.findall(r"^SystemCallFilter=(.*)$", text, re.MULTILINE):
        calls = set().union(*map(members, line.lstrip("~").split()))
        found = found - calls if line.startswith("~") else found | calls
    return found


def test_it_runs_as_the_unit_has_it(tool, tree, run):
    output, errors = run(BODY)
    lines = output.splitlines()
    calls = {line.removeprefix("call ") for line in lines if line.startswith("call ")}
    assert [line for line in lines if not line.startswith("call ")] == [
        "ucomqtt", "Prm 0000000000000000", "Eff 0000000000000000", "Amb 0000000000000000", "nnp 1",
        "writes /tmp", "writes /var/lib/ucomqtt", "writes /run/ucomqtt", "full null random tty urandom zero ",
        "alive: HTTP/1.1 200 OK", "kept", "refused", "exit status 0", "alive: HTTP/1.1 200 OK", "kept",
        "ucomqtt 600 /var/lib/ucomqtt/broker.db", "no port 443",
    ], output + errors  # fmt: skip
    assert "cannot listen on 0.0.0.0:443: Permission denied" in errors
    assert "the configuration is right" in errors and "the configuration was read again" in errors
    assert len(calls) > 30 and "bind" in calls
    assert calls - allowed_calls(tool, unit_text(tree)) == set()


PORT_443 = f"""
printf '\\n[[listener]]\\nid = "low"\\nhost = "0.0.0.0"\\nport = 443\\n' >>/etc/ucomqtt/ucomqtt.toml
printf 'secret\\n' | ucomqtt passwd /etc/ucomqtt/users.txt alice
restrict
(restricted EXEC_START) &
broker=$!
{WAIT}
if mosquitto_pub -p 443 -u alice -P secret -t home/alice/x -m x -q 1; then echo "published"; fi
kill $broker 2>/dev/null || true
wait $broker && echo "stopped" || echo "failed"
"""


def test_port_443(run):
    """What is to be uncommented suffices; test_it_runs_as_the_unit_has_it shows that it is needed."""
    output, errors = run(PORT_443, port_443=True)
    assert output.splitlines()[-2:] == ["published", "stopped"] and "listening on 0.0.0.0:443" in errors


def test_what_is_left(run):
    """A removed package leaves configuration and state, a purged one nothing; a changed configuration outlives an upgrade."""
    output, _ = run("""
test -s /usr/share/ucomqtt/port/core/__pycache__/broker.*.pyc && echo "compiled"
echo "max_qos = 1" >>/etc/ucomqtt/ucomqtt.toml
dpkg --install "$work/package.deb" >/dev/null 2>&1
tail -1 /etc/ucomqtt/ucomqtt.toml
touch /var/lib/ucomqtt/broker.db
stat -c "%G %a" /etc/ucomqtt/users.txt
dpkg --remove ucomqtt >/dev/null 2>&1
ls /etc/ucomqtt /var/lib/ucomqtt
dpkg --purge ucomqtt >/dev/null 2>&1
find /etc/ucomqtt /var/lib/ucomqtt /usr/share/ucomqtt /usr/bin/ucomqtt 2>/dev/null || echo "nothing"
""")
    assert output.split() == [
        "compiled", "max_qos", "=", "1", "ucomqtt", "640", "/etc/ucomqtt:", "ucomqtt.toml", "users.txt", "/var/lib/ucomqtt:",
        "broker.db", "nothing",
    ]  # fmt: skip
