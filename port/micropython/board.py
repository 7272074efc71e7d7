"""The main program of a board: Wi-Fi, the broker and what looks after them, from config.json.

    from port.micropython.board import run

    run(led="LED")

The file has the keys of port.core.config, and the objects `wifi` (see port.micropython.wifi.Wifi) and `board`:

    led         number or name of the pin of the status LED, on when clients can come, or null (default: the board's own)
    watchdog    true: the hardware resets a board that hangs for 8 s
    safe_pin    number of a pin: connected to ground at the start, it leaves the board at the prompt
    retry       s until the broker is started again after an error (default 10)
    memory      bytes: no new clients while less is free (default 12288)
    ntp         server that tells the time, "" for none (default)

Ctrl-C ends it and leaves the prompt, always: the watchdog is then fed from a timer.
"""

import asyncio
import gc
import sys
import time

import machine
from port.core import const
from port.core.setup import check_settings
from port.micropython.config import log_level, read, server
from port.micropython.server import logger
from port.micropython.wifi import Wifi

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, Coroutine, Optional

    from port.micropython.server import Server

_KEYS = {"watchdog": bool, "safe_pin": int, "retry": int, "memory": int, "ntp": str}
_WATCHDOG = const(8000)  # ms; a Pico has 8388 at most
_LOOK = const(1000)  # ms between two looks at the memory; the watchdog is fed then, too
_GRACE = const(10)  # s at the prompt's disposal after the watchdog has reset the board


def run(
    led: "Any" = None,
    path: str = "config.json",
    program: "Optional[Callable[[Server], Coroutine[Any, Any, None]]]" = None,
) -> None:
    """Run until Ctrl-C, or return at once when the configuration is wrong, which it says.

    program  `async def program(server)`, started beside the broker: a program of your own
    """
    try:
        values = read(path)
        wifi = values.pop("wifi", {})
        settings = values.pop("board", {})
        led = settings.pop("led", led)
        check_settings(settings, _KEYS)
        log = logger(log_level(values))
        server(values)  # a mistake ends here, before anything is started
    except ValueError as e:
        print("ucomqtt:", e)
        return
    if _held(settings):
        print("ucomqtt: the safe pin is low, nothing is started")
        return
    _Board(values, wifi, settings, led, log, program).run()


def _held(settings: "dict[str, Any]") -> bool:
    number = settings.get("safe_pin")
    return number is not None and not machine.Pin(number, machine.Pin.IN, machine.Pin.PULL_UP).value()


class _Board:
    def __init__(
        self,
        values: "dict[str, Any]",
        wifi: "dict[str, Any]",
        settings: "dict[str, Any]",
        led: "Any",
        log: "Callable[..., None]",
        program: "Optional[Callable[[Server], Coroutine[Any, Any, None]]]",
    ) -> None:
        self._values = values
        self._settings = settings
        self._wifi_settings = wifi
        self._led = None if led is None else machine.Pin(led, machine.Pin.OUT)
        self._log = log
        self._program = program
        self._watchdog: "Any" = None
        self._server: "Optional[Server]" = None
        self._full: "Optional[int]" = None  # max_connections while memory is short

    def run(self) -> None:
        """Start the broker again and again, until Ctrl-C or a mistake in the settings."""
        retry = self._settings.get("retry", 10)
        try:
            if self._settings.get("watchdog"):
                if machine.reset_cause() == machine.WDT_RESET:
                    print("ucomqtt: reset by the watchdog, goes on in %d s; Ctrl-C for the prompt" % _GRACE)
                    time.sleep(_GRACE)
                self._watchdog = machine.WDT(timeout=_WATCHDOG)
            while True:
                try:
                    asyncio.run(self._main())
                except (ValueError, TypeError) as e:
                    print("ucomqtt: wifi: %s" % e)
                    break
                except Exception as e:
                    sys.print_exception(e)
                print("ucomqtt: starts again in %d s; Ctrl-C for the prompt" % retry)
                self._show(False)
                for _ in range(retry):
                    self._feed()
                    time.sleep(1)
                asyncio.new_event_loop()  # type: ignore[attr-defined,unused-ignore]
                gc.collect()
        except KeyboardInterrupt:
            pass
        self._end()

    def _end(self) -> None:
        if self._watchdog is not None:  # it cannot be stopped
            machine.Timer(-1).init(period=2000, callback=lambda timer: self._feed())
        if self._server is not None:
            asyncio.run(self._server.stop())
        self._show(False)
        print("ucomqtt: stopped")

    async def _main(self) -> None:
        self._feed()
        self._server = None
        wifi = Wifi(log=self._log, up=self._show, **self._wifi_settings)
        broker = server(self._values, self._log)
        feeding = asyncio.create_task(self._look_after(broker))
        if not await wifi.start():
            print("ucomqtt: no network yet")
        asyncio.create_task(wifi.watch())
        self._server = broker
        await broker.start()
        print("ucomqtt: listening at %s: %s" % (wifi.address(), ", ".join(broker.places())))
        if self._settings.get("ntp"):
            self._set_clock(self._settings["ntp"])
        if self._program is not None:
            asyncio.create_task(self._program(broker))
        await feeding

    async def _look_after(self, broker: "Server") -> None:
        least = self._settings.get("memory", 12288)
        while True:
            self._feed()
            if gc.mem_free() < least:
                gc.collect()
            short = gc.mem_free() < least
            if short and self._full is None:
                self._full = broker.options.max_connections
                broker.options.max_connections = 0
                self._log(2, "memory is short (%d bytes): no new clients", gc.mem_free())
            elif not short and self._full is not None:
                broker.options.max_connections = self._full
                self._full = None
            await asyncio.sleep_ms(_LOOK)

    def _set_clock(self, host: str) -> None:
        try:
            import ntptime

            ntptime.host = host
            ntptime.settime()
        except (ImportError, OSError) as e:
            self._log(2, "no time from %s: %r", host, e)

    def _feed(self) -> None:
        if self._watchdog is not None:
            self._watchdog.feed()

    def _show(self, up: bool) -> None:
        if self._led is not None:
            self._led.value(up)
