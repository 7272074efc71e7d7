"""The config.json of a board, from the command line or from questions."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
from typing import Any

from port.core.limits.options import TABLE
from port.core.auth.password_file import check_user_name, make_record
from port.core.config.config import Config

_OF_WIFI = ("ssid", "open_wifi", "access_point", "hostname", "address")  # options for boards with Wi-Fi


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say what is in it. Passwords are asked for, or are the lines of standard input."""
    group = parser.add_argument_group("configuration", "Passwords are asked for; without a terminal they are read from "
                                      "standard input, a line each: the Wi-Fi's, the access point's, the users'")
    group.add_argument("--ssid", help="the Wi-Fi to join")
    group.add_argument("--open-wifi", action="store_true", help="it has no password")
    group.add_argument("--access-point", metavar="SSID", help="a Wi-Fi of the board's own while there is none to join")
    group.add_argument("--hostname", help="name in the network (default ucomqtt)")
    group.add_argument("--address", help="ADDRESS,NETMASK,GATEWAY,DNS in place of DHCP")
    group.add_argument("--user", action="append", default=[], metavar="NAME", help="who may connect; may be repeated")
    group.add_argument("--anonymous", action="store_true", help="everybody may connect")
    group.add_argument("--mqtt", type=int, default=1883, metavar="PORT", help="port for MQTT (default %(default)s)")
    group.add_argument("--websocket", type=int, metavar="PORT", help="port for MQTT over WebSocket")
    group.add_argument("--option", action="append", default=[], metavar="NAME=VALUE",
                       help="an option of the broker, such as max_queued_messages=20; may be repeated")


def wanted(given: argparse.Namespace) -> bool:
    """True when the command line says something of the configuration."""
    return bool(given.ssid or given.user or given.anonymous or given.option or given.hostname or given.address
                or given.access_point or given.websocket)


def ask(given: argparse.Namespace, wifi: bool = True) -> None:
    """Ask for what must be known, of a board with Wi-Fi or without."""
    if wifi:
        given.ssid = input("Name of the Wi-Fi (SSID): ").strip()
    if not given.user and not given.anonymous:
        name = input("Name of the first user (empty: everybody may connect): ").strip()
        given.user = [name] if name else []
        given.anonymous = not name


def make(given: argparse.Namespace, wifi: bool = True) -> dict[str, Any]:
    """The configuration of a board with Wi-Fi or without. Raises ValueError naming what is wrong."""
    of_wifi = [name for name in _OF_WIFI if getattr(given, name)]
    if of_wifi and not wifi:
        raise ValueError(f"--{of_wifi[0].replace('_', '-')}: this board has no Wi-Fi")
    if wifi and not given.ssid and not given.access_point:
        raise ValueError("--ssid is missing")
    if not given.user and not given.anonymous:
        raise ValueError("nobody could connect: name users with --user, or say --anonymous")
    return {"wifi": _wifi(given), **_broker(given)} if wifi else _broker(given)


def _wifi(given: argparse.Namespace) -> dict[str, Any]:
    wifi: dict[str, Any] = {}
    if given.ssid:
        wifi["ssid"] = given.ssid
        if not given.open_wifi:
            wifi["password"] = _password(f"Password of the Wi-Fi {given.ssid}")
    if given.access_point:
        wifi["ap_ssid"] = given.access_point
        wifi["ap_password"] = _password(f"Password for the Wi-Fi {given.access_point}")
        if len(wifi["ap_password"]) < 8:
            raise ValueError("the access point's password must have at least 8 characters")
    if given.hostname:
        wifi["hostname"] = given.hostname
    if given.address:
        wifi["address"] = given.address.split(",")
        if len(wifi["address"]) != 4:
            raise ValueError("--address must be ADDRESS,NETMASK,GATEWAY,DNS")
    return wifi


def _broker(given: argparse.Namespace) -> dict[str, Any]:
    broker: dict[str, Any] = {"log_level": "info", "listener": [{"host": "0.0.0.0", "port": given.mqtt}]}  # nosec B104
    if given.websocket:
        broker["listener"].append({"type": "websocket", "host": "0.0.0.0", "port": given.websocket})  # nosec B104
    if given.user:
        users = {}
        for name in given.user:
            check_user_name(name.encode())
            users[name] = make_record(_password(f"Password for {name}").encode(), os.urandom(16))
        broker["auth"] = [{"type": "users", "users": users}]
    if given.anonymous:
        broker["anonymous"] = "all"
    kinds = {row[0]: type(row[1]) for row in TABLE}
    for text in given.option:
        name, _, value = text.partition("=")
        broker[name] = value if kinds.get(name, str) is str else json.loads(value)
    Config(broker, True, ("log_level",))
    return broker


def _password(what: str) -> str:
    if sys.stdin.isatty():
        password = getpass.getpass(what + ": ")
    else:
        password = sys.stdin.readline().rstrip("\n")
    if not password:
        raise ValueError(f"{what} is empty")
    return password
