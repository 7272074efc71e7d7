"""Wi-Fi of a board: joins a network and joins it again when lost; meanwhile opens an access point.

    wifi = Wifi(ssid="home", password="...", hostname="broker")
    await wifi.start()
    asyncio.create_task(wifi.watch())
"""

import asyncio

import network
from port.core import const
from port.core.checks import check_settings

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable

_POLL = const(200)  # ms
_LOOK = const(1000)  # ms between two looks at a connection
_MOST = const(60)  # s, longest pause between two attempts
_PM_OFF = const(0xA11140)  # cyw43, the Pico W's controller: no power saving, which delays packets by up to seconds
_PASSWORD = (8, 63)  # characters of a WPA2 password
_OPEN = const(0)  # `security` of an access point, on every board
_WPA2 = const(0x400004)  # cyw43's number for it
_NAME = const(32)  # most bytes of an SSID, and of a host name in MicroPython

_KEYS = {
    "ssid": str, "password": str, "hostname": str, "address": (str,), "timeout": int, "power_save": bool, "ap_ssid": str,
    "ap_password": str,
}  # fmt: skip


def _ignore(level: int, text: str, *args: "Any") -> None:
    pass


class Wifi:
    """Joins `ssid`; after `timeout` s without success opens the access point `ap_ssid`, if set, and goes on trying.

    ssid, password, timeout (20)
    hostname     (ucomqtt) also the name in mDNS where the firmware has it: HOSTNAME.local
    address      [address, netmask, gateway, DNS server]; without it DHCP
    power_save   (false) true: an answer may wait for the next beacon
    ap_ssid      name of the access point; without `ssid` it is open all the time
    ap_password  8 to 63 characters; empty for an open network

    `connected`: True when it has joined `ssid`, or without `ssid` opened `ap_ssid`.
    """

    def __init__(self, log: "Callable[..., None]" = _ignore, **settings: "Any") -> None:
        """Check the settings. Raises ValueError naming what is wrong."""
        check(settings)
        self._settings = settings
        self._log = log
        self._ssid: str = settings.get("ssid", "")
        self._ap_ssid: str = settings.get("ap_ssid", "")
        self._timeout: int = settings.get("timeout", 20)
        self._station: "Any" = None
        self._ap: "Any" = None
        self.connected = False

    def address(self) -> str:
        """The board's address, 0.0.0.0 without one."""
        own = self._ap is not None and not (self._ssid and self.connected)
        found: str = (self._ap if own else self._station).ifconfig()[0]
        return found

    def dns(self) -> str:
        """The address of the DNS server."""
        found: str = self._station.ifconfig()[3]
        return found

    async def start(self) -> bool:
        """Join, or open the access point; False when both have failed. `watch` goes on trying."""
        if self._station is None:
            self._set_up()
        if not self._ssid:
            self._open()
            self.connected = True
            return True
        try:
            # After a soft reset the board may still be in another network.
            if self.connected and self._station.isconnected() or self._lost() and await self._join():
                self._note(True)
                return True
            return self._open()
        except Exception as e:
            self._log(2, "Wi-Fi: %r", e)
            return False

    async def watch(self) -> None:
        """Watch the connection for ever: join again when it is lost, with longer pauses after each failure."""
        wait = 1
        while self._ssid:
            await asyncio.sleep_ms(_LOOK)
            try:
                if self._station.isconnected() or self._lost() and await self._join():
                    self._note(True)
                    self._close()
                    wait = 1
                    continue
                self._open()
                await self._joined(wait)  # an ESP32 joins again by itself
            except Exception as e:  # of the driver; the next attempt may succeed
                self._log(2, "Wi-Fi: %r", e)
                await asyncio.sleep(wait)
            wait = min(wait * 2, _MOST)

    def _set_up(self) -> None:
        settings = self._settings
        network.hostname(settings.get("hostname", "ucomqtt"))  # before an interface is active
        station: "Any" = network.WLAN(network.STA_IF)
        if self._ssid:
            station.active(True)
            if "address" in settings:
                address, netmask, gateway, dns = settings["address"]
                station.ifconfig((address, netmask, gateway, dns))
            if not settings.get("power_save", False):
                # 0 on an ESP32, a number of the driver on cyw43.
                none = getattr(network.WLAN, "PM_NONE", _PM_OFF)
                try:
                    station.config(pm=none and _PM_OFF)
                except (ValueError, OSError):
                    pass  # another controller
        self._station = station

    def _lost(self) -> bool:
        self._note(False)
        return True

    async def _join(self) -> bool:
        station = self._station
        try:
            station.disconnect()
        except OSError:
            pass  # it was not connected
        password = self._settings.get("password")
        if password:
            station.connect(self._ssid, password)
        else:
            station.connect(self._ssid)
        if await self._joined(self._timeout):
            return True
        self._log(2, "Wi-Fi: cannot join %s (status %r)", self._ssid, station.status())
        return False

    async def _joined(self, seconds: int) -> bool:
        """Wait until it is connected, `seconds` at most; True when it is."""
        for _ in range(seconds * 1000 // _POLL):
            if self._station.isconnected():
                return True
            await asyncio.sleep_ms(_POLL)
        return False

    def _note(self, connected: bool) -> None:
        if connected is not self.connected:
            self.connected = connected
            if connected:
                self._log(1, "Wi-Fi: joined %s, %s", self._ssid, self._station.ifconfig()[0])
            else:
                self._log(2, "Wi-Fi: lost %s", self._ssid)

    def _open(self) -> bool:
        if not self._ap_ssid:
            return False
        if self._ap is None:
            point: "Any" = network.WLAN(network.AP_IF)
            password = self._settings.get("ap_password")
            # Both are set: an ESP32's default is an open network, a Pico W's WPA2 with a known password.
            settings: "dict[str, Any]" = {"ssid": self._ap_ssid, "security": _OPEN}
            if password:
                settings["password"] = password
                settings["security"] = getattr(network, "AUTH_WPA2_PSK", _WPA2)  # a name of the ESP32's
            try:
                point.config(**settings)
            except OSError:  # ESP-IDF: possible only while it is enabled
                point.active(True)
                point.config(**settings)
            point.active(True)
            self._ap = point
            self._log(2, "Wi-Fi: access point %s, %s", self._ap_ssid, point.ifconfig()[0])
        return True

    def _close(self) -> None:
        if self._ap is not None:
            self._ap.active(False)
            self._ap = None
            self._log(1, "Wi-Fi: access point %s closed", self._ap_ssid)


def check(settings: "dict[str, Any]") -> None:
    """Raise ValueError naming a wrong setting of a Wifi."""
    for key in ("password", "ap_password"):
        if not isinstance(settings.get(key, ""), str):  # a value may be secret, so it is not shown
            raise ValueError("%s must be a string" % key)
    check_settings(settings, _KEYS)
    if not settings.get("ssid") and not settings.get("ap_ssid"):
        raise ValueError("ssid is missing")
    for key in ("ssid", "ap_ssid", "hostname"):
        if len(settings.get(key, "").encode()) > _NAME:
            raise ValueError("%s must have at most %d bytes" % (key, _NAME))
    if settings.get("ap_password") and not _PASSWORD[0] <= len(settings["ap_password"]) <= _PASSWORD[1]:
        raise ValueError("ap_password must have at least %d characters, at most %d" % _PASSWORD)
    if settings.get("timeout", 1) < 1:
        raise ValueError("timeout must be 1 s or more, not %d" % settings["timeout"])
    address = settings.get("address")
    if address is not None and (len(address) != 4 or not all([_is_address(text) for text in address])):
        raise ValueError("address must be [address, netmask, gateway, DNS server], not %r" % (address,))


def _is_address(text: str) -> bool:
    parts = text.split(".")
    return len(parts) == 4 and all([part.isdigit() and int(part) < 256 for part in parts])
