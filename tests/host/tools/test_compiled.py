"""The broker compiled by tools/compile: the tests of the core and of sockets, on the compiled modules."""

import os
import subprocess
import sys

import toolchain


def test_it_passes_its_tests_when_compiled(tmp_path, tool):
    tool("gcc")
    folder = tmp_path / "compiled"
    environment = {**os.environ, "PYTHON": sys.executable, "MYPYC_OPT_LEVEL": "0"}
    built = subprocess.run([sys.executable, toolchain.ROOT / "tools" / "compile", folder], env=environment, capture_output=True, text=True)
    assert not built.returncode, built.stderr
    probe = tmp_path / "test_what_is_tested.py"
    probe.write_text(
        "from port.core import broker\n"
        "from port.core.messages import message\n"
        "from port.core.protocol import connection, handle_publish\n"
        "from port.core.routing import router\n"
        "from port.core.sessions import session\n"
        "from port.cpython.net import epoll, stream, transport\n"
        "def test_it():\n"
        "    for module in (broker, connection, message, handle_publish, router, session, epoll, stream, transport):\n"
        f"        assert module.__file__.startswith({str(folder)!r}) and module.__file__.endswith('.so'), module\n"
    )
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
        "-o", f"pythonpath={folder} tests/core tests/support tools",
        "-k", "not micropython and not file_descriptors", probe, "tests/core", "tests/host/listeners/test_event_loop.py",
        "tests/host/listeners/test_listening_socket.py", "tests/host/listeners/test_listeners.py",
        "tests/host/program/test_embedding.py",
    ]  # fmt: skip
    environment["BROKER_FOLDER"] = str(folder)  # for the brokers that tests start as programs
    done = subprocess.run(command, cwd=toolchain.ROOT, env=environment, capture_output=True, text=True)
    assert not done.returncode, done.stdout[-8000:]
