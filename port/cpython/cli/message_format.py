"""The formats of `ucomqtt sub -F`, which are those of mosquitto_sub.

    %t topic  %p payload  %x %X payload in hexadecimal  %l its length  %q QoS  %r 1 if retained, else 0  %m packet identifier
    %j JSON, the payload as text  %J JSON, the payload is JSON  %I time, ISO 8601  %U s since 1970  %%  a percent sign
    %A topic alias  %C content type  %D correlation data  %E message expiry interval  %F payload format indicator
    %P user properties, NAME:VALUE  %R response topic  %S subscription identifiers: of MQTT 5, empty when a message has none
    @X  as strftime has %X, @N the nanoseconds, @@ an at sign; \\n \\t \\r \\0 \\a \\e \\v \\\\ characters

A width may stand between % and letter, as in %10t, %-10t or %05l; for text .MOST, too, as in %.10t.
"""

from __future__ import annotations

import binascii
import json
import re
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paho.mqtt.client import MQTTMessage

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "a": "\a", "e": "\033", "v": "\v", "\\": "\\"}
_TOKEN = re.compile(r"%([-0]*)(\d*)(?:\.(\d+))?(.?)|@(.?)|\\(.?)", re.DOTALL)
_PROPERTIES = {
    "A": "TopicAlias", "C": "ContentType", "D": "CorrelationData", "E": "MessageExpiryInterval", "F": "PayloadFormatIndicator",
    "P": "UserProperty", "R": "ResponseTopic", "S": "SubscriptionIdentifier",
}  # fmt: skip
_DIGITS = 5  # of a width
_DATES = "aAbBcCdDeFgGhHIjklmMNpPrRsSTuUVwWxXyYzZ"


class Format:
    """A parsed format."""

    def __init__(self, text: str, newline: bool = True) -> None:
        """Raises ValueError naming what is wrong."""
        self._pieces: list[Any] = []
        end = 0
        for match in _TOKEN.finditer(text):
            self._literal(text[end : match.start()])
            self._pieces.append(self._piece(match))
            end = match.end()
        self._literal(text[end:])
        if newline:
            self._literal("\n")

    def _literal(self, text: str) -> None:
        if text:
            self._pieces.append(text.encode(errors="surrogateescape"))

    def _piece(self, match: re.Match[str]) -> Any:
        flags, width, most, letter, date, escape = match.groups()
        if escape is not None:
            if escape not in _ESCAPES:
                raise ValueError("unknown escape \\%s" % escape)
            return _ESCAPES[escape].encode()
        if date is not None:
            if date == "@":
                return b"@"
            if not date or date not in _DATES:
                raise ValueError("unknown date @%s" % date)
            return lambda message, now: _date(date, now)
        if letter == "%":
            return b"%"
        value = _VALUES.get(letter)
        if value is None:
            raise ValueError("unknown format %%%s" % letter)
        if not flags and not width and most is None:
            return value
        if len(width) > _DIGITS or len(most or "") > _DIGITS:
            raise ValueError("%s is too wide" % match[0][:20])

        def padded(message: MQTTMessage, now: float) -> bytes:
            found: bytes = value(message, now)
            if most is not None:
                found = found[: int(most)]
            size = int(width or 0)
            return found.ljust(size) if "-" in flags else found.rjust(size, b"0" if "0" in flags else b" ")

        return padded

    def text(self, message: MQTTMessage, now: float) -> bytes:
        """A message in this format; `now`: time of its arrival, s since 1970."""
        return b"".join([piece if isinstance(piece, bytes) else piece(message, now) for piece in self._pieces])


def _property(message: MQTTMessage, letter: str) -> bytes:
    found = getattr(message.properties, _PROPERTIES[letter], None) if message.properties is not None else None
    if found is None:
        return b""
    if letter == "P":
        return " ".join("%s:%s" % pair for pair in found).encode()
    if isinstance(found, bytes):
        return found
    return " ".join(map(str, found)).encode() if isinstance(found, list) else str(found).encode()


def _date(letter: str, now: float) -> bytes:
    if letter == "N":
        return b"%09d" % (now % 1 * 1e9)
    return time.strftime("%" + letter, time.localtime(now)).encode()


def _iso(now: float) -> str:
    return datetime.fromtimestamp(now).astimezone().strftime("%Y-%m-%dT%H:%M:%S%z")


def _json(message: MQTTMessage, now: float, parsed: bool) -> bytes:
    stamp = datetime.fromtimestamp(now).astimezone().strftime("%Y-%m-%dT%H:%M:%S.%f%z")
    found: dict[str, Any] = {"tst": stamp, "topic": message.topic, "qos": message.qos, "retain": int(message.retain)}
    found["payloadlen"] = len(message.payload)
    if message.qos:
        found["mid"] = message.mid
    more = _properties(message)
    if more:
        found["properties"] = more
    text = message.payload.decode(errors="backslashreplace")
    if not parsed:
        found["payload"] = text
    else:
        try:
            found["payload"] = json.loads(text)
            return _encoded(found)
        except (ValueError, RecursionError):  # not JSON, or not printable as JSON: infinite numbers, nested too deep
            found["payload"] = text
    return _encoded(found)


def _encoded(found: dict[str, Any]) -> bytes:
    """As JSON; half a surrogate pair, which is not UTF-8, as JSON's escape. Raises ValueError, RecursionError."""
    text = json.dumps(found, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode(errors="backslashreplace")


def _properties(message: MQTTMessage) -> dict[str, Any]:
    """The MQTT 5 properties under mosquitto's names; a repeated user property is a list."""
    found: dict[str, Any] = {}
    for name in _PROPERTIES.values():
        value = getattr(message.properties, name, None) if message.properties is not None else None
        if value is None or name == "TopicAlias":
            continue
        key = re.sub("(?!^)([A-Z])", r"-\1", name).lower()
        if name == "UserProperty":
            users: dict[str, Any] = {}
            for user_key, user_value in value:
                users.setdefault(user_key, []).append(user_value)
            key, value = "user-properties", {k: v if len(v) > 1 else v[0] for k, v in users.items()}
        elif isinstance(value, bytes):
            value = value.decode(errors="backslashreplace")
        found[key] = value
    return found


_VALUES: dict[str, Any] = {
    "t": lambda message, now: message.topic.encode(),
    "p": lambda message, now: message.payload,
    "x": lambda message, now: binascii.hexlify(message.payload),
    "X": lambda message, now: binascii.hexlify(message.payload).upper(),
    "l": lambda message, now: b"%d" % len(message.payload),
    "q": lambda message, now: b"%d" % message.qos,
    "r": lambda message, now: b"%d" % message.retain,
    "m": lambda message, now: b"%d" % message.mid,
    "j": lambda message, now: _json(message, now, False),
    "J": lambda message, now: _json(message, now, True),
    "I": lambda message, now: _iso(now).encode(),
    "U": lambda message, now: b"%.9f" % now,
    **{letter: lambda message, now, letter=letter: _property(message, letter) for letter in _PROPERTIES},
}
