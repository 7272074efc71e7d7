"""Wi-Fi of a board: joins a network and stays there, or opens one of its own until that succeeds.

    wifi = Wifi(ssid="home", password="...", hostname="broker")
    await wifi.start()
    asyncio.create_task(wifi.watch())
"""

import asyncio

import network
from port.core import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

_POLL = const(200)  # ms
_LOOK = const(2000)  # ms between two looks at a connection
_MOST = const(60)  # s until it is tried again, at most
_PM_OFF = const(0xA11140)  # cyw43, the Pico W's controller: no power saving, which costs up to seconds for each packet
_AP_PASSWORD = const(8)  # characters that WPA2 asks for


def _ignore(level: int, text: str, *args: "Any") -> None:
    pass


class Wifi:
    """Joins `ssid`; after `timeout` s without success opens `ap_ssid`, if there is one, and goes on trying.

    hostname     also the name in mDNS where the firmware has it: HOSTNAME.local
    address      None for DHCP, or [address, netmask, gateway, DNS server]
    power_save   False: an answer must not wait for the next beacon (cyw43 only; others have no such setting here)
    ap_password  at least 8 characters; empty makes an open network
    up           called with True when it has joined, with False when it is lost

    ValueError names what is wrong. `connected` says whether it has joined `ssid`.
    """

    def __init__(
        self,
        ssid: str = "",
        password: str = "",  # nosec B107 # of an open network
        hostname: str = "ucomqtt",
        address: "Optional[list[str]]" = None,
        timeout: int = 20,
        power_save: bool = False,
        ap_ssid: str = "",
        ap_password: str = "",  # nosec B107 # of an open network
        log: "Callable[..., None]" = _ignore,
        up: "Optional[Callable[[bool], None]]" = None,
    ) -> None:
        if not ssid and not ap_ssid:
            raise ValueError("ssid is missing")
        if ap_password and len(ap_password) < _AP_PASSWORD:
            raise ValueError("ap_password must have at least 8 characters")
        if address is not None and len(address) != 4:
            raise ValueError("address must be [address, netmask, gateway, DNS server]")
        self._ssid = ssid
        self._password = password
        self._timeout = timeout
        self._ap_ssid = ap_ssid
        self._ap_password = ap_password
        self._log = log
        self._up = up
        self.connected = False
        network.hostname(hostname)  # before an interface is active
        self._station: "Any" = network.WLAN(network.STA_IF)
        self._ap: "Any" = None
        if ssid:
            self._station.active(True)
            if address is not None:
                self._station.ifconfig((address[0], address[1], address[2], address[3]))
            if not power_save:
                try:
                    self._station.config(pm=_PM_OFF)
                except (ValueError, OSError):
                    pass  # not a cyw43

    def address(self) -> str:
        """The address at which clients find the board, 0.0.0.0 without one."""
        interface = self._station if self.connected or self._ap is None else self._ap
        found: str = interface.ifconfig()[0]
        return found

    async def start(self) -> bool:
        """Join, or open the access point; False when there is neither yet. `watch` goes on."""
        if self._ssid and await self._join():
            return True
        return self._open()

    async def watch(self) -> None:
        """Look after the connection for ever: join again when it is lost, less often the longer that fails."""
        wait = 1
        while True:
            await asyncio.sleep_ms(_LOOK)
            try:
                if not self._ssid:
                    continue
                if self._station.isconnected():
                    self._note(True)
                    self._close()
                    wait = 1
                    continue
                self._note(False)
                if not await self._join():
                    self._open()
                    await asyncio.sleep(wait)
                    wait = min(wait * 2, _MOST)
            except OSError as e:  # the driver's; it may get well
                self._log(2, "Wi-Fi: %r", e)
                await asyncio.sleep(wait)
                wait = min(wait * 2, _MOST)

    async def _join(self) -> bool:
        self._station.disconnect()
        if self._password:
            self._station.connect(self._ssid, self._password)
        else:
            self._station.connect(self._ssid)
        for _ in range(self._timeout * 1000 // _POLL):
            if self._station.isconnected():
                self._note(True)
                return True
            await asyncio.sleep_ms(_POLL)
        self._log(2, "Wi-Fi: cannot join %s (status %r)", self._ssid, self._station.status())
        return False

    def _note(self, connected: bool) -> None:
        if connected is self.connected:
            return
        self.connected = connected
        if connected:
            self._log(1, "Wi-Fi: joined %s, %s", self._ssid, self._station.ifconfig()[0])
        else:
            self._log(2, "Wi-Fi: lost %s", self._ssid)
        if self._up is not None:
            self._up(connected)

    def _open(self) -> bool:
        if not self._ap_ssid:
            return False
        if self._ap is None:
            self._ap = network.WLAN(network.AP_IF)
            settings = {"ssid": self._ap_ssid}
            if self._ap_password:
                settings["password"] = self._ap_password
                wpa2 = getattr(network, "AUTH_WPA2_PSK", None)  # of the ESP32, whose own default is an open network
                if wpa2 is not None:
                    settings["security"] = wpa2
            self._ap.config(**settings)
            self._ap.active(True)
            self._log(2, "Wi-Fi: access point %s, %s", self._ap_ssid, self._ap.ifconfig()[0])
        return True

    def _close(self) -> None:
        if self._ap is not None:
            self._ap.active(False)
            self._ap = None
