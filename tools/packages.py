"""What mip installs on a board: all of port/core and port/micropython that a broker needs, or less of it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from toolchain import ROOT

_FOUND = re.search(r'__version__ = "(.+)"', (ROOT / "port" / "core" / "__init__.py").read_text())
VERSION = _FOUND[1] if _FOUND else ""

# Parts of the broker that are loaded only when they are used: what is left away takes no flash.
PARTS = {
    "web": ("core/http", "core/info", "core/measures", "core/metrics", "core/websocket", "micropython/weblink"),
    "store": (
        "core/flashlog", "core/journal", "core/records", "core/restore", "core/session_journal", "core/session_records",
        "core/session_replay", "core/session_restore", "core/store", "core/store_config", "micropython/flash",
    ),
    "access": (
        "core/acl", "core/acl_rule", "core/certificate", "core/judged", "core/network", "core/password_file", "core/passwords",
        "core/recent", "core/subject", "core/turns",
    ),
    "many": ("core/wide",),
    "extras": ("core/asking", "core/figures", "core/hooks", "core/rate", "core/renewal", "core/shared"),
    "tls": ("core/certificate", "core/subject", "micropython/tls"),
    "mqtt5": ("core/mqtt5", "core/properties"),
    "words": ("core/refusals",),
    "config": (
        "core/config", "core/everybody", "core/given", "core/guard", "core/listener_config", "core/mount", "core/nearest", "core/seats",
        "core/setup", "core/store_config",
        "micropython/__main__", "micropython/board", "micropython/config", "micropython/entrances", "micropython/ntp",
        "micropython/setup", "micropython/show", "micropython/wifi",
    ),
}
NEVER = ("core/packets",)  # packets as a client sees them, for tests and tools

# Package -> the parts it lacks. The empty name is the whole broker's.
PACKAGES: dict[str, tuple[str, ...]] = {
    "": (),
    "without-web": ("web",),
    "without-store": ("store",),
    "without-access": ("access",),
    "without-mqtt5": ("mqtt5",),
    "small": ("web", "store", "access", "tls", "config", "many", "words"),
    "smallest": ("web", "store", "access", "tls", "config", "many", "mqtt5", "extras", "words"),
}


def files(package: str = "") -> list[str]:
    """The files of a package below ROOT, such as "port/core/acl.py"."""
    absent = {f"port/{name}.py" for part in PACKAGES[package] for name in PARTS[part]}
    absent |= {f"port/{name}.py" for name in NEVER}
    folders = (ROOT / "port" / "core", ROOT / "port" / "micropython")
    found = [path.relative_to(ROOT).as_posix() for folder in folders for path in sorted(folder.rglob("*.py"))]
    return ["port/__init__.py", *(name for name in found if name not in absent)]


def place(package: str) -> Path:
    """Where the package's file is: package.json, or boards/packages/NAME.json."""
    return ROOT / "boards" / "packages" / f"{package}.json" if package else ROOT / "package.json"


def source_package(package: str) -> str:
    """The text of the package's file, for the sources as they lie in the repository."""
    up = "../" * (len(place(package).relative_to(ROOT).parts) - 1)
    return package_text([(name, up + name) for name in files(package)])


def package_text(urls: Sequence[tuple[str, str]]) -> str:
    """A package.json: `urls` are (place on the board, place beside this file)."""
    lines = ",\n".join(f"    {json.dumps(list(url))}" for url in urls)
    return '{\n  "urls": [\n%s\n  ],\n  "deps": [],\n  "version": "%s"\n}\n' % (lines, VERSION)
