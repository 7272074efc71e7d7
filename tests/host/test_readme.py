"""The README's examples run as they stand."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from server_process import environment
from toolchain import ROOT, find

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def block(text: str) -> str:
    """The one example that contains `text`."""
    found = [b for b in BLOCKS if text in b]
    assert len(found) == 1, "no single example with %r" % text
    return found[0]


def run(command: "list[str]", source: str, folder: Path) -> str:
    """Run an example; its output."""
    script = folder / "example.py"
    script.write_text(source, encoding="utf-8")
    env = {"PYTHONPATH": str(ROOT), "MICROPYPATH": ".frozen:" + str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([*command, str(script)], capture_output=True, text=True, timeout=30, env=env, check=False)
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr
    return done.stdout


def test_embedded_in_a_python_script(tmp_path):
    source = block("server.listen(\"127.0.0.1\", 18883)").replace("18883", "0")
    assert run([sys.executable], source, tmp_path) == "sensors/kitchen b'21.5'\n"


def test_embedded_in_a_micropython_main(tmp_path):
    micropython = find("micropython")
    assert micropython, "no micropython: run tools/test"
    output = run([str(micropython)], block("async def blink"), tmp_path)
    assert output == "board/blinks b'0'\nboard/blinks b'1'\nboard/blinks b'2'\n"


def test_hooks(tmp_path):
    source = block("def to_celsius") + (
        'server.subscribe("sensors/celsius", lambda message: print(message.payload))\n'
        'server.publish("sensors/fahrenheit", "212")\n'
    )
    assert run([sys.executable], source, tmp_path) == "b'100.0'\n"


@pytest.mark.parametrize("command", ["python3 -m port.cpython", "micropython -m port.micropython --port 1883"])
def test_the_first_screen_holds_both_commands(command):
    assert command in TEXT.split("## ")[0]


def test_paho(tmp_path):
    broker = subprocess.Popen(
        [sys.executable, "-m", "port.cpython", "--port", "0"], cwd=ROOT, stderr=subprocess.PIPE, text=True,
        env=environment(),
    )
    try:
        assert broker.stderr is not None
        port = broker.stderr.readline().rsplit(":", 1)[1].strip()
        source = block("import paho").replace('connect("127.0.0.1")', 'connect("127.0.0.1", %s)' % port)
        assert run([sys.executable], source, tmp_path) == "greetings/second hello from paho\n"
    finally:
        broker.terminate()
        broker.wait(10)
