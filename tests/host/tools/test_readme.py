"""Every example of the README.md files and CONTRIBUTING.md does what it says, as printed.

They run in rooms (tests/support/room.py) with a network of their own, so that a broker has the port 1883 that it says, and in a
copy of this checkout. What no test can run, because it takes a board, a download of gigabytes or a service, is looked at as
far as that goes: LOOKED_AT says why. A block that is in neither place fails test_no_example_is_left_out.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

import toolchain
from debian.archive import Archive, Unavailable
from examples import FILES, example, unnamed
from room import Room, RoomError, clone
from toolchain import ROOT, VENV

PICTURE = "tools/reports/terminal.svg"
README, PI, BOARD = "README.md", "boards/raspberry-pi/README.md", "boards/qemu-mps2/README.md"
SERVER, BOARDS, BUILT = "port/cpython/README.md", "port/micropython/README.md", "port/README.md"
CONTRIBUTING = "CONTRIBUTING.md"
PICO, ESP32 = "boards/rpi-pico-w/README.md", "boards/esp32/README.md"
MONITORING, PROGRAMS = "boards/raspberry-pi/monitoring/README.md", "port/public/README.md"

BROKERS = example(README, "micropython -m port.micropython --port 1883")
GREETINGS = example(README, "mosquitto_pub -t greetings/first")
PAHO = example(README, "import paho.mqtt.client")
PACKAGES = example(README, "pip install . ")
PASSWD = example(README, "port.cpython passwd -c users.txt alice")
WHO_MAY = example(README, 'type = "password_file"')
COMPILE = example(BOARDS, "tools/mpy ")
FOR_BOARDS = {
    "rpi-pico-w": example(PICO, "cp boards/rpi-pico-w/config.json.example"),
    "esp32": example(ESP32, "cp boards/esp32/config.json.example"),
}
IN_A_PROGRAM = example(README, "from port.cpython import Server\n")
ON_A_BOARD = example(BOARDS, "from port.micropython import Server")
HOOKS = example(PROGRAMS, "def to_celsius")
INSIDE = example(PROGRAMS, "open_client")
STREAMS = example(PROGRAMS, "serve_stream")
PAGES = example(PROGRAMS, "def kick")
OPTIONS = example(SERVER, "max_queued_messages = 200")
STORE = example(SERVER, "[store]\n")
MONITORED = example(MONITORING, "# http://127.0.0.1:8080/metrics")
SCRAPED = example(MONITORING, "scrape_configs")
LOOK_AFTER = example(SERVER, "port.cpython store check")

BOARD_RUN = example(BOARD, "tools/board run")
BOARD_SAYS = example(BOARD, "WebSocket       ws://")
BOARD_TRY = example(BOARD, "$SYS/broker/heap/#")
BOARD_DEPLOY = example(BOARD, "tools/deploy /dev/pts/3")

INSTALL = example(PI, "git clone REPOSITORY")
CONFIGURE = example(PI, "sudo useradd")
RUN = example(PI, "systemctl enable --now")
BACKUP = example(PI, "ucomqtt store check")
CERTIFICATES = example(PI, "--host raspberrypi.local")
TLS_TABLE = example(PI, 'id = "tls"')
TLS_TRY = example(PI, "mosquitto_pub --cafile")

LOOKED_AT = {
    example(README, "tools/test\n"): "this test is a part of what it does; tools/fresh runs it on a fresh machine",
    example(README, "tools/deploy --board rpi-pico-w "): "it takes a board; tests/host/tools/test_deploy.py has a stand-in",
    example(BOARDS, "tools/deploy --board rpi-pico-w "): "as above",
    example(PICO, "tools/deploy --board rpi-pico-w "): "as above",
    example(ESP32, "tools/deploy --board esp32 "): "as above",
    example(PICO, "git clone --branch"): "downloads of a gigabyte from elsewhere; tests/boards/test_firmware.py has stand-ins",
    example(ESP32, "git clone --branch"): "downloads of gigabytes from elsewhere; tests/boards/test_firmware.py has stand-ins",
    example(MONITORING, "prometheus --config.file"): "it does not end; tests/host/program/test_monitoring.py starts it",
    example(CONTRIBUTING, "tools/test --quick"): "the tests themselves",
    example(CONTRIBUTING, "tools/bench"): "measuring takes minutes",
    example(PI, "docker build"): "there is no Docker where tests run; tests/host/install/test_raspberry_pi.py reads its files",
}
# Other tests run them: program/test_commands.py, install/test_deb.py, program/test_testing.py,
# program/test_own_types.py.
ELSEWHERE_RUN = [
    example(SERVER, text) for text in ("ucomqtt sub -t", "ucomqtt from-mosquitto", "sudo apt install ./build/ucomqtt")
] + [example(PROGRAMS, text) for text in ("# test_paho.py\n", "# test_aiomqtt.py\n", "# test_gmqtt.py\n")]
OWN_TYPES = [example(CONTRIBUTING, "# %s.py\n" % name) for name in ("file_store", "shared_password", "stream_listener")]
ENTRY_POINTS = example(PROGRAMS, "ucomqtt.authenticators")  # tests/host/program/test_third_party.py has such a package
# No commands: a drawing, a line of the log, and what tools/firmware says at the end (tests/boards/test_firmware.py).
DRAWINGS = (example(BUILT, "socket ──► adapter"), example(SERVER, "WARNING tv (user ann)"), example(PICO, "image: .../build"))


def test_no_example_is_left_out():
    assert not unnamed()


def anchors(text: str) -> "set[str]":
    """What `#...` of a link may be: the headings, as GitHub names them."""
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


@pytest.mark.parametrize("file", (*FILES, "SECURITY.md", "CHANGELOG.md"))
def test_links(file):
    folder = (ROOT / file).parent
    for link in re.findall(r"\]\(([^)\s]+)\)", (ROOT / file).read_text(encoding="utf-8")):
        place, _, anchor = link.partition("#")
        if place.startswith(("http://", "https://")):
            continue
        target = folder / place if place else ROOT / file
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A checkout in which a test may write."""
    return clone(ROOT, tmp_path_factory.mktemp("readme") / "ucomqtt", ".venv", ".cache")


@pytest.fixture
def room(copy, tool):
    """Where the examples of README.md run."""
    tool("unshare")
    try:
        with Room(copy, [copy / ".venv" / "bin"]) as made:
            yield made
    except RoomError as error:
        (pytest.fail if toolchain.in_ci() else pytest.skip)(f"no room with a network of its own here: {error}")


def hear(room, listen: str, words: str, meanwhile: str = "") -> str:
    """What a command that goes on has printed when these words are in it; `meanwhile` is done again and again."""
    return room.sh(f"{{ {listen}\n}} > /tmp/heard.$$ 2>&1 & until grep -q '{words}' /tmp/heard.$$; do {meanwhile}\nsleep 0.1; done\n"
                   "cat /tmp/heard.$$; rm /tmp/heard.$$; kill $!")


# -- the first screen ------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1], ids=["cpython", "micropython"])
def test_a_broker_and_two_clients(room, tool, number):
    tool("mosquitto_pub"), tool("micropython")
    room.start(BROKERS.lines[number])
    room.wait_for(1883)
    wanted, sent = GREETINGS.lines
    assert hear(room, wanted, "hello", sent).startswith("greetings/first hello, world\n")
    assert room.sh("python3 - <<'END'\n" + PAHO.text + "END") == "greetings/second hello from paho\n"


def test_packages(room, copy):
    """In a virtual environment of one's own: the command, a MicroPython, a client."""
    room.environment["PATH"] = "/usr/bin:/bin"
    room.sh("rm -rf env\n" + PACKAGES.text + 'ucomqtt --version; micropython -c "import asyncio"; python -c "import paho.mqtt.client"',
            online=True)


@pytest.mark.parametrize("number", [0, 1], ids=["cpython", "micropython"])
def test_the_picture(room, tool, number):
    """It shows the commands of the first screen, and all that they print, with a time of its own."""
    tool("micropython")
    texts = ElementTree.parse(ROOT / PICTURE).iter("{http://www.w3.org/2000/svg}text")
    titles = "^(?:a broker on Linux|or on MicroPython|two clients)\n"
    _, *brokers, clients = re.split(titles, "\n".join("".join(text.itertext()) for text in texts), flags=re.MULTILINE)
    command, *printed = brokers[number].splitlines()
    assert command == "$ " + BROKERS.lines[number].partition("  ")[0]
    said = hear(room, BROKERS.lines[number], printed[-1].split()[-1]).splitlines()
    assert [without_time(line) for line in said] == [without_time(line) for line in printed]
    assert clients.splitlines() == [f"$ {GREETINGS.lines[0]} &", f"$ {GREETINGS.lines[1]}", "greetings/first hello, world"]


def without_time(line: str) -> str:
    return re.sub(r"^[-\d]+ [:,\d]+ ", "", line)


def test_the_first_screen_has_both_commands():
    assert BROKERS.number == 0 and "## " not in (ROOT / README).read_text().split("tools/test", 1)[0]


def test_who_may_connect(room, tool, copy):
    tool("mosquitto_pub")
    room.ask(PASSWD.text, "s3cret", "s3cret")
    room.sh(re.search("; (ucomqtt cert certs)", WHO_MAY.text)[1])  # type: ignore[index]
    name, command = re.match(r"# (\S+), for: (.+)\n", WHO_MAY.text).groups()
    (copy / name).write_text(WHO_MAY.text)
    room.start(command)
    for port in (1883, 8083, 8883, 8080):
        room.wait_for(port)
    tried = "mosquitto_pub -q 1 -t home/alice/door -m open -u alice -P"
    room.sh(f"{tried} s3cret; {tried} s3cret -p 8883 --cafile certs/ca.pem")
    with pytest.raises(RoomError, match="bad user name or password"):
        room.sh(f"{tried} wrong")
    for page in ("/", "/healthz", "/metrics"):
        assert page in WHO_MAY.text
        room.sh(f"python3 -c \"import urllib.request as r; r.urlopen('http://127.0.0.1:8080{page}')\"")


# -- programs --------------------------------------------------------------------------------------


def test_in_a_program(room):
    assert room.sh("python3 - <<'END'\n" + IN_A_PROGRAM.text + "END") == "sensors/kitchen b'21.5'\n"


def test_in_a_main_program_of_a_board(room, copy, tool):
    tool("micropython")
    (copy / "main.py").write_text(ON_A_BOARD.text)
    assert room.sh("micropython main.py") == "board/blinks b'0'\nboard/blinks b'1'\nboard/blinks b'2'\n"


def test_hooks(room, copy):
    (copy / "hooks.py").write_text(HOOKS.text + (
        'server.subscribe("sensors/celsius", lambda message: print(message.payload))\n'
        'server.publish("sensors/fahrenheit", "212")\n'
    ))
    assert room.sh("python3 hooks.py") == "b'100.0'\n"


def test_a_client_inside_the_broker(room, copy, tool):
    said = "fahrenheit/kitchen b'70.7'\n"
    (copy / "inside.py").write_text(INSIDE.text)
    assert room.sh("python3 inside.py") == said
    tool("micropython")
    (copy / "inside.py").write_text(INSIDE.text.replace("port.cpython", "port.micropython"))
    assert room.sh("micropython inside.py") == said


def test_streams(room, copy, tool):
    tool("mosquitto_pub")
    (copy / "streams.py").write_text(STREAMS.text)
    room.start("python3 streams.py")
    room.wait_for(18885)
    sent = "mosquitto_pub -p 18885 -t a -m hello"
    assert "hello" in hear(room, "mosquitto_sub -p 18885 -t a", "hello", sent)


@pytest.mark.parametrize("command", ["python3", "micropython"])
def test_pages(room, copy, tool, command):
    tool("curl"), tool("micropython")
    text = PAGES.text if command == "python3" else PAGES.text.replace("port.cpython", "port.micropython")
    (copy / "pages.py").write_text(text)
    room.start(command + " pages.py")
    room.wait_for(18886)
    url = "http://127.0.0.1:18886/clients"
    assert json.loads(room.sh(f"curl -s '{url}?limit=10'")) == {"items": [], "cursor": None}
    assert room.sh(f"curl -s -X DELETE -w '%{{http_code}}' {url}/nobody") == "there is no such client\n404"


def test_options(room, copy):
    name, command = re.match(r"# (\S+), for: (.+)\n", OPTIONS.text).groups()
    (copy / name).write_text(OPTIONS.text)
    room.sh(command + " --check-config")
    assert "max_queued_messages = 200" in room.sh(command + " --print-config")


def test_monitoring(room, copy, tool):
    (copy / "ucomqtt.toml").write_text(MONITORED.text)
    room.sh("python3 -m port.cpython --config ucomqtt.toml --check-config")
    (copy / "prometheus.yml").write_text(SCRAPED.text)
    room.sh(tool("promtool") + " check config prometheus.yml")


def test_compile_for_boards(room, copy):
    """The second line takes a board: what it installs is there."""
    compiles, installs = COMPILE.lines
    room.sh(compiles)
    assert (copy / "build/mpy/package.json").exists() and "build/mpy/package.json" in installs
    look_at(installs, copy)


@pytest.mark.parametrize("board", FOR_BOARDS)
def test_files_for_a_board(room, copy, board):
    """They are made as it says; to copy them takes the board (tests/host/install/test_packages.py has stand-ins)."""
    here = []
    for line in FOR_BOARDS[board].lines:
        look_at(line, copy) if line.startswith("mpremote ") else here.append(line)
    assert here.pop(0) == COMPILE.lines[0].partition(" ")[0]
    room.ask("rm -f users.txt\n" + "\n".join(here), "s3cret", "s3cret")
    assert "alice:" in (copy / "users.txt").read_text() and "ssid" in json.loads((copy / "config.json").read_text())["wifi"]


def test_look_after_a_store(room, copy, tool):
    tool("mosquitto_sub")
    name = LOOK_AFTER.lines[0].partition("--config ")[2].split()[0]
    (copy / name).write_text(STORE.text)
    (copy / "other.toml").write_text(STORE.text.replace("broker.db", "other.db"))
    room.sh(f"python3 -m port.cpython --config {name} & broker=$!\n"
            "until mosquitto_sub -i CLIENT_ID -c -q 1 -t '#' -E; do sleep 0.1; done; kill $broker; wait $broker")
    for line in LOOK_AFTER.lines:
        room.sh(line)
    assert (copy / "copy.db").exists() and "CLIENT_ID" in (copy / "state.jsonl").read_text()
    room.sh("python3 -m port.cpython store export --file other.db other.jsonl; cmp state.jsonl other.jsonl")


# -- the board on a PC -----------------------------------------------------------------------------


def test_the_virtual_board(room, copy, tool):
    for name in ("qemu-system-arm", "arm-none-eabi-gcc", "mosquitto_sub", "mpremote"):
        tool(name)
    board = room.start(BOARD_RUN.text)
    board.stdout.readline()  # that it starts
    said = "".join(board.stdout.readline() for _ in BOARD_SAYS.lines)
    console = said.split()[-1]
    assert said == BOARD_SAYS.text.replace("/dev/pts/3", console)
    wanted, sent, heap = BOARD_TRY.lines
    room.wait_for(1883)
    assert "greetings/first hello, board\n" in hear(room, wanted, "hello", sent)
    assert "$SYS/broker/heap/current " in hear(room, heap, "heap/free")

    deploy, configure, program, _ = (line.replace("/dev/pts/3", console) for line in BOARD_DEPLOY.lines)
    assert "listening" in room.ask(deploy, "s3cret")
    room.sh('echo \'{"anonymous": "all"}\' > config.json; echo \'print("a program of mine")\' > main.py')
    for line in (configure, program):
        room.sh(line)
    # All of the broker over the serial line takes a minute: tests/host/install/test_packages.py installs it.
    look_at(BOARD_DEPLOY.lines[3], copy)


# -- a Raspberry Pi --------------------------------------------------------------------------------

SHIMS = {
    # There is no way to another user's rights in a room; all else is as with the real one.
    "sudo": 'case $1 in -u) user=$2; shift 2; exec runuser -u "$user" -- "$@";; *) exec "$@";; esac',
    # What it would install has to be there.
    "apt": 'shift; exec dpkg -s "$@" > /dev/null',
    # What a unit says, done by hand; systemd-analyze reads the unit in tests/host/install/test_raspberry_pi.py.
    "systemctl": """\
unit=/etc/systemd/system/ucomqtt.service
value() { sed -n "s/^$1=//p" $unit; }
case $1 in
    daemon-reload) exit;;
    enable) test "$2" = --now; exec "$0" start "$3";;
    start) for folder in lib run; do install -d -m 700 -o ucomqtt -g ucomqtt /var/$folder/ucomqtt; done
        runuser -u "$(value User)" -- $(value ExecStartPre)
        setsid runuser -u "$(value User)" -- $(value ExecStart) < /dev/null > /var/log/ucomqtt 2>&1 &
        echo $! > /run/ucomqtt.pid;;
    status) exec test -d "/proc/$(cat /run/ucomqtt.pid)";;
    stop) kill "$(cat /run/ucomqtt.pid)"; while kill -0 "$(cat /run/ucomqtt.pid)" 2> /dev/null; do sleep 0.1; done;;
    restart) "$0" stop "$2"; exec "$0" start "$2";;
    *) echo "what is systemctl $1?"; exit 1;;
esac""",
}


def as_pi(block) -> str:
    """The lines as an ordinary user gives them: with the rights that `sudo` gets, and without."""
    return "\n".join(line if re.match("sudo |cd ", line) else "runuser -u pi -- " + line for line in block.lines) + "\n"


def test_a_raspberry_pi(tool, copy, tmp_path):
    """From nothing to a service with TLS, as root's and an ordinary user's commands on a machine that forgets them."""
    for name in ("unshare", "mosquitto_pub", "runuser", "git"):
        tool(name)
    shims, scratch, home = tmp_path / "shims", tmp_path / "scratch", Path("/home/pi")
    for folder in (shims, scratch):
        folder.mkdir()
    for name, text in SHIMS.items():
        (shims / name).write_text("#!/bin/bash\nset -e\n" + text)
        (shims / name).chmod(0o755)
    try:
        if os.geteuid() != 0:
            raise RoomError("it takes root")
        pi = Room(Path("/"), [Path("/usr/local/bin")], scratch, kept=(ROOT,))
    except RoomError as error:
        (pytest.fail if toolchain.in_ci() else pytest.skip)(f"no room with a file system of its own here: {error}")
    with pi:
        pi.sh(f"cp {shims}/* /usr/local/bin; mkdir -p /somewhere/else; echo 127.0.0.1 localhost raspberrypi.local > /etc/hosts\n"
              f"useradd --create-home pi; cp -r {copy} /srv/repository; rm /srv/repository/.venv /srv/repository/.cache\n"
              "cd /srv/repository; git init -q; git add -A; git -c user.name=x -c user.email=x commit -qm x\n"
              "git config --system safe.directory '*'")
        pi.cwd = home
        pi.environment["HOME"] = str(home)
        pi.sh(as_pi(INSTALL).replace("REPOSITORY", "/srv/repository"), online=True)
        pi.cwd = home / "ucomqtt"
        # The packages of development are there already.
        pi.sh(f"mkdir .venv; mount --bind {VENV} .venv")
        pi.ask(as_pi(CONFIGURE), "PASSWORD", "PASSWORD")
        *start, publish = as_pi(RUN).splitlines()
        pi.sh("\n".join(start))
        pi.wait_for(1883)
        listen = "mosquitto_sub -h raspberrypi.local -u alice -P PASSWORD -t home/alice/hello"
        assert hear(pi, listen, "world", publish).startswith("world\n")
        pi.sh(as_pi(BACKUP) + "test -s /somewhere/else/broker.db")
        pi.wait_for(1883)
        make, *others = as_pi(CERTIFICATES).splitlines()
        pi.sh(make + f"\ncat >> /etc/ucomqtt/ucomqtt.toml <<'END'\n\n{TLS_TABLE.text}END\n" + "\n".join(others))
        *restart, publish = as_pi(TLS_TRY).splitlines()
        pi.sh("\n".join(restart))
        pi.wait_for(8883)
        assert hear(pi, listen, "world", publish).startswith("world\n")


# -- what is only looked at ------------------------------------------------------------------------

# They come with what a line before them downloads.
ELSEWHERE = re.compile(r"(micropython|esp-idf)/")


@pytest.mark.parametrize("block", LOOKED_AT, ids=lambda block: f"{block.file}-{block.lines[0].split(' #')[0].strip()}")
def test_what_is_only_looked_at(block, copy):
    for line in block.lines:
        look_at(line, copy)


def look_at(line: str, folder: Path) -> None:
    """The program of a command is there and has these options, and so are the files of ours that it names."""
    words = shlex.split(line, comments=True)
    words = words[words[0] == "sudo":]
    if words[0] in ("cd", ".") or ELSEWHERE.match(words[0]):
        return
    for word in words:
        if re.match(r"(boards|tools)/", word):
            assert (ROOT / word).exists(), word
    if words[0] == "apt":  # test_packages_of_debian
        return
    program = str(folder / words[0]) if "/" in words[0] else toolchain.find(words[0])
    if words[0] == "docker" and not program:
        pytest.skip("no Docker")
    assert program and shutil.which(program), words[0]
    text = help_of(program, words)
    for word in words[1:]:
        if word.startswith("-"):
            assert re.search(rf"(?<![\w-]){re.escape(word.partition('=')[0])}(?![\w-])", text), f"{words[0]} has no {word}"


def help_of(program: str, words: "list[str]") -> str:
    """What a program says of its options, and of those of its subcommands."""
    subcommands = [] if "/" in words[0] else [word for word in words[1:] if re.fullmatch("[a-z]+", word)]
    return "".join(
        subprocess.run([program, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                       timeout=60).stdout
        for arguments in (["--help"], *([word, asked] for word in subcommands for asked in ("-h", "--help")))
    )


def test_packages_of_debian(tmp_path):
    """Those that the examples install are in the Debian that Raspberry Pi OS is made of."""
    wanted = {name for file in FILES for names in re.findall(r"^sudo apt install (.*)", (ROOT / file).read_text(), re.MULTILINE)
              for name in names.split() if not name.startswith("./")}
    assert "python3-venv" in wanted
    try:
        assert not wanted - Archive(tmp_path / "apt", "amd64").names()
    except Unavailable as error:
        (pytest.fail if toolchain.in_ci() else pytest.skip)(str(error))
