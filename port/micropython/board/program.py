"""The main program of a board: Wi-Fi, the broker, watchdog and memory guard, from config.json.

    from port.micropython import run

    run(led="LED")

The file has the keys of port.core.config.config, and the objects `wifi` (see port.micropython.board.wifi.Wifi) and `board`:

    led         number or name of the pin of the status LED, or null for none (default: the board's own): on while the board
                has joined the network, blinking while it has not, off when nothing runs
    watchdog    true: the hardware resets a board that hangs for 8 s
    safe_pin    number of a pin; connected to ground at the start it keeps the board at the prompt
    retry       s until the broker, or a program of your own, is started again after an error (default 10)
    memory      free bytes of heap below which port.core.monitor.memory_guard.MemoryGuard takes off load (default 12288)
    idf_memory  the same for ESP-IDF's heap on an ESP32, which has the network's buffers (default 16384)
    ntp         server that tells the time, "" for none (default); asked once a day

Ctrl-C always ends it and gives the prompt; from then on a timer feeds the watchdog. After a reset by the watchdog, or three
starts that did not last a minute, the start waits for a while, which leaves time for Ctrl-C.
"""

import asyncio
import gc
import os
import sys
import time

import machine
from port.core import const
from port.core.monitor.memory_guard import MemoryGuard
from port.micropython.board.wifi import Wifi, check
from port.micropython.config.config_file import read_config
from port.micropython.server import SINCE_1970, Server

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, Coroutine, Optional

    Program = Callable[[Server], Coroutine[Any, Any, None]]

_KEYS = {"watchdog": bool, "safe_pin": int, "retry": int, "memory": int, "idf_memory": int, "ntp": str}
_WATCHDOG = const(8000)  # ms; a Pico has 8388 at most
_LOOK = const(1000)  # ms between two looks at the memory; the watchdog is fed then, too
_STARTS = "ucomqtt.starts"  # file with the number of starts in a row that did not last
_MANY = const(3)
_NTP_AGAIN = const(15)  # s, then twice as many each time
_NTP_MOST = const(3600)  # s
_DAY = const(86400)  # s
# s; not const, for tests
LASTS = 60  # after which a start has lasted
AFTER_WATCHDOG = 10  # to wait for Ctrl-C
AFTER_MANY = 60

timer: "Any" = None  # feeds the watchdog at the prompt; a global, as a Pico's timer ends when it is garbage


def run(led: "Any" = None, path: str = "config.json", program: "Optional[Program]" = None) -> None:
    """Run until Ctrl-C; with a wrong configuration print the error and return at once.

    program  `async def program(server)`, a program of your own that runs beside the broker. It is started again after an
             exception, which is printed
    """
    try:
        board = _Board(read_config(path), led, program)
    except (ValueError, TypeError, OSError) as e:
        print("ucomqtt:", e)
        return
    board.run()


def _table(values: "dict[str, Any]", name: str) -> "dict[str, Any]":
    from port.core.checks import check_type

    table: "dict[str, Any]" = values.pop(name, {})
    check_type(name, table, dict)
    return table


def _pin(key: str, name: "Any", *args: "Any") -> "Any":
    try:
        return machine.Pin(name, *args)
    except (ValueError, TypeError) as e:
        raise ValueError("%s: there is no pin %r (%s)" % (key, name, e))


class _Board:
    def __init__(self, values: "dict[str, Any]", led: "Any", program: "Optional[Program]") -> None:
        """Check the configuration. Raises ValueError, TypeError or OSError naming what is wrong."""
        from port.core.checks import check_settings

        settings = _table(values, "board")
        wifi = _table(values, "wifi")
        self._led: "Any" = None
        self._safe: "Any" = None
        led = settings.pop("led", led)
        try:
            check_settings(settings, _KEYS)
            for key in ("retry", "memory", "idf_memory"):
                if settings.get(key, 1) < 1:
                    raise ValueError("%s must be 1 or more, not %d" % (key, settings[key]))
            if settings.get("ntp"):
                from port.micropython.board.ntp import check as check_host

                check_host(settings["ntp"])
            if led is not None:
                self._led = _pin("led", led, machine.Pin.OUT)
            if "safe_pin" in settings:
                self._safe = _pin("safe_pin", settings["safe_pin"], machine.Pin.IN, machine.Pin.PULL_UP)
        except ValueError as e:
            raise ValueError("board: %s" % e)
        try:
            check(wifi)
        except ValueError as e:
            raise ValueError("wifi: %s" % e)
        broker = Server()
        broker.configure(values)  # raises an error for a mistake
        self._log = broker.log
        self._wifi = Wifi(self._log, **wifi)
        self._values = values
        self._settings = settings
        self._program = program
        self._retry: int = settings.get("retry", 10)
        self._watchdog: "Any" = None
        self._server: "Optional[Server]" = None
        self._tasks: "list[Any]" = []
        self._lit = False

    def run(self) -> None:
        """Start the broker again and again, until Ctrl-C."""
        if self._safe is not None and not self._safe.value():
            print("ucomqtt: the safe pin is low, nothing is started")
            return
        try:
            self._wait_for_user()
            if self._settings.get("watchdog"):
                self._watchdog = machine.WDT(timeout=_WATCHDOG)
            while True:
                try:
                    asyncio.run(self._main())
                except Exception as e:
                    sys.print_exception(e)  # type: ignore[attr-defined,unused-ignore]
                self._stop()
                print("ucomqtt: starts again in %d s; Ctrl-C for the prompt" % self._retry)
                for _ in range(self._retry):
                    self._feed()
                    time.sleep(1)
                asyncio.new_event_loop()  # type: ignore[attr-defined,unused-ignore]
                gc.collect()
        except KeyboardInterrupt:
            pass
        finally:
            self._end()

    def _wait_for_user(self) -> None:
        """After a failure leave time for Ctrl-C before anything starts."""
        starts = 0
        try:
            with open(_STARTS) as file:
                starts = int(file.read())
        except (OSError, ValueError):
            pass
        _note_starts(starts + 1)
        if starts >= _MANY:
            why, seconds = "%d starts have not lasted %d s" % (starts, LASTS), AFTER_MANY
        elif self._settings.get("watchdog") and machine.reset_cause() == machine.WDT_RESET:
            why, seconds = "reset by the watchdog", AFTER_WATCHDOG
        else:
            return
        print("ucomqtt: %s, goes on in %d s; Ctrl-C for the prompt" % (why, seconds))
        time.sleep(seconds)

    def _stop(self) -> None:
        """End all tasks of `_main`, whatever their state."""
        self._feed()
        for task in self._tasks:
            try:
                task.cancel()
            except RuntimeError:
                pass  # the running task cannot cancel itself
        self._tasks.clear()
        broker = self._server
        self._server = None
        if broker is not None:
            try:
                asyncio.run(broker.stop())
            except Exception as e:
                sys.print_exception(e)  # type: ignore[attr-defined,unused-ignore]
        self._show(False)

    def _end(self) -> None:
        global timer
        if self._watchdog is not None:  # a watchdog cannot be stopped
            try:
                timer = machine.Timer(-1)
            except ValueError:  # on an ESP32 with MicroPython 1.25 to 1.28
                timer = machine.Timer(0)
            timer.init(period=2000, callback=lambda _: self._feed())
        _note_starts(0)
        self._stop()
        print("ucomqtt: stopped")

    async def _main(self) -> None:
        broker = self._server = Server(log=self._log)
        broker.configure(self._values)
        self._tasks.append(asyncio.create_task(self._look_after(broker)))
        if not await self._wifi.start():
            print("ucomqtt: no network yet")
        self._tasks.append(asyncio.create_task(self._wifi.watch()))
        await broker.start()
        places = ", ".join(["%s:%d" % address for address in broker.addresses])
        print("ucomqtt: listening at %s: %s" % (self._wifi.address(), places))
        if self._settings.get("ntp"):
            self._tasks.append(asyncio.create_task(self._keep_clock(self._settings["ntp"])))
        if self._program is not None:
            self._tasks.append(asyncio.create_task(self._run_program(self._program, broker)))
        await self._tasks[0]

    async def _look_after(self, broker: "Server") -> None:
        guard = MemoryGuard(broker)
        guard.watch("heap", self._heap_left, self._settings.get("memory", 12288))
        try:
            import esp32  # type: ignore[import-not-found,unused-ignore]

            # It holds no queues.
            guard.watch("idf", lambda: _idf_left(esp32), self._settings.get("idf_memory", 16384), 2)
        except ImportError:
            pass
        broker.memory.look = guard.look
        lasts = time.ticks_ms()
        lasted = False
        while True:
            self._feed()
            self._show(self._wifi.connected or not self._lit)
            try:
                if broker.strained:
                    guard.relieve()
                guard.look()
            except MemoryError:
                broker.out_of_memory()
            if not lasted and time.ticks_diff(time.ticks_ms(), lasts) >= LASTS * 1000:
                lasted = True
                _note_starts(0)
            await asyncio.sleep_ms(_LOOK)

    def _heap_left(self) -> int:
        """Free bytes of the heap; collects garbage first when few are left."""
        left = gc.mem_free()
        if left < 2 * self._settings.get("memory", 12288):
            gc.collect()
            left = gc.mem_free()
        return left

    async def _run_program(self, program: "Program", broker: "Server") -> None:
        while True:
            try:
                await program(broker)
                return
            except Exception as e:
                sys.print_exception(e)  # type: ignore[attr-defined,unused-ignore]
            print("ucomqtt: the program starts again in %d s" % self._retry)
            await asyncio.sleep(self._retry)

    async def _keep_clock(self, host: str) -> None:
        from port.micropython.board.ntp import ask

        wait = _NTP_AGAIN
        while True:
            if not self._wifi.connected:
                await asyncio.sleep_ms(_LOOK)
                continue
            seconds = None
            try:
                seconds = await ask(host, self._wifi.dns())
            except OSError as e:
                self._log(1, "time: %r", e)
            if seconds is None:
                self._log(2, "no time from %s", host)
                await asyncio.sleep(wait)
                wait = min(wait * 2, _NTP_MOST)
            else:
                year, month, day, hour, minute, second, weekday = time.gmtime(seconds - SINCE_1970)[:7]
                machine.RTC().datetime((year, month, day, weekday, hour, minute, second, 0))
                self._log(1, "time: %04d-%02d-%02d %02d:%02d:%02d", year, month, day, hour, minute, second)
                wait = _NTP_AGAIN
                await asyncio.sleep(_DAY)

    def _feed(self) -> None:
        if self._watchdog is not None:
            self._watchdog.feed()

    def _show(self, lit: bool) -> None:
        if self._led is not None and lit is not self._lit:
            self._led.value(lit)
        self._lit = lit


def _idf_left(esp32: "Any") -> int:
    """Free bytes of ESP-IDF's heap, from (size, free, largest block, least ever free) of each region."""
    return sum([region[1] for region in esp32.idf_heap_info(esp32.HEAP_DATA)])


def _note_starts(count: int) -> None:
    """Keep the number of starts in a row that did not last; an unchanged number is not written."""
    try:
        if count:
            with open(_STARTS, "w") as file:
                file.write("%d" % count)
        else:
            os.remove(_STARTS)
    except OSError:
        pass
