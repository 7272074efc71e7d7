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
    "web": (
        "core/messages/trie_pages", "core/monitor/measures", "core/monitor/metrics", "core/monitor/query",
        "core/sessions/session_index", "core/web/http", "core/web/http_body", "core/web/http_connection",
        "core/web/http_pages", "core/web/http_response", "core/web/json_text", "core/web/lists", "core/web/routes",
        "core/web/site", "core/web/stored_file", "core/web/websocket", "core/web/websocket_turns",
        "micropython/net/http_transport", "micropython/net/websocket_transport", "micropython/web",
    ),
    "store": (
        "core/config/store_config", "core/storage/flash_log", "core/storage/journal", "core/storage/records",
        "core/storage/recovery", "core/storage/session_journal", "core/storage/session_records", "core/storage/session_recovery",
        "core/storage/session_replay", "core/storage/store", "micropython/flash",
    ),
    "access": (
        "core/acl/acl", "core/acl/acl_rule", "core/acl/resume_check", "core/auth/certificate", "core/auth/certificate_subject",
        "core/auth/password_file", "core/auth/passwords", "core/auth/recent_logins", "core/limits/fair_queue",
        "core/limits/ip_network",
    ),
    "many": ("core/messages/wide_node",),
    "streams": ("core/streams",),
    "local": (
        "core/limits/local_listener", "core/messages/batch", "core/protocol/local_client", "core/protocol/local_transport",
        "core/sessions/local_session",
    ),
    "extras": (
        "core/limits/rate_limit", "core/monitor/hooks", "core/monitor/sys_topics", "core/monitor/watchers",
        "core/protocol/pending_auth", "core/protocol/reauthorize", "core/routing/shared_subscription",
    ),
    "tls": ("core/auth/certificate", "core/auth/certificate_subject", "micropython/net/tls"),
    "mqtt5": ("core/protocol/mqtt5", "core/protocol/property_reader", "core/wire/properties"),
    "words": ("core/monitor/refusals",),
    "config": (
        "core/auth/allow_deny", "core/checks", "core/config/apply_config", "core/config/arguments", "core/config/config",
        "core/config/listener_config", "core/config/listener_types", "core/config/registry", "core/config/store_config",
        "core/monitor/memory_guard", "core/protocol/listener_places",
        "core/sessions/mount_point", "core/wire/suggest",
        "micropython/__main__", "micropython/board/ntp", "micropython/board/program", "micropython/board/wifi",
        "micropython/config/apply_config", "micropython/config/config_file", "micropython/config/print_config",
        "micropython/net/listeners",
    ),
}
NEVER = ("core/protocol/client_packets",)  # packets as a client sees them, for tests and tools

# Package -> the parts it lacks. The empty name is the whole broker's.
PACKAGES: dict[str, tuple[str, ...]] = {
    "": (),
    "without-web": ("web",),
    "without-store": ("store",),
    "without-access": ("access",),
    "without-mqtt5": ("mqtt5",),
    "small": ("web", "store", "access", "tls", "config", "many", "streams", "local", "words"),
    "smallest": ("web", "store", "access", "tls", "config", "many", "mqtt5", "extras", "streams", "local", "words"),
}


def files(package: str = "") -> list[str]:
    """The files of a package below ROOT, such as "port/core/acl/acl.py"."""
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
