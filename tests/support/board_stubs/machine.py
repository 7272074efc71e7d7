"""A `machine` for the unix port: what pins are set to is printed, their state is in the file `pin-NUMBER`."""

import io
import sys

_GET_FILENO = 10  # what poll() asks a stream for
WDT_RESET = 3
PWRON_RESET = 1


def reset():
    sys.exit(66)


def reset_cause():
    try:
        with open("reset-cause") as file:
            return int(file.read())
    except OSError:
        return PWRON_RESET


class Pin:
    IN = 0
    OUT = 1
    PULL_UP = 1
    IRQ_RISING = 1
    IRQ_FALLING = 2

    def __init__(self, name, mode=0, pull=None):
        if not isinstance(name, str) and name > 40:
            raise ValueError("invalid pin")
        self._name = name

    def value(self, value=None):
        if value is not None:
            print("pin", self._name, int(value))
            return None
        try:
            with open("pin-%s" % self._name) as file:
                return int(file.read())
        except OSError:
            return 1


class UART(io.IOBase):
    """The terminal whose path is in the file `uart-NUMBER`; like a board's it cannot be closed."""

    def __init__(self, number, baudrate, timeout, rxbuf):
        with open("uart-%d" % number) as file:
            self._line = open(file.read(), "r+b")

    def read(self, count):
        return self._line.read(count) or None

    def write(self, data):
        return self._line.write(data)

    def ioctl(self, request, argument):
        return self._line.fileno() if request == _GET_FILENO else -1


class WDT:
    fed = 0

    def __init__(self, timeout):
        print("watchdog", timeout)

    def feed(self):
        WDT.fed += 1


class Timer:
    def __init__(self, number):
        if number == -1 and "esp32" in sys.modules:  # as there in MicroPython 1.25 to 1.28
            raise ValueError("invalid Timer number")
        self._number = number

    def init(self, period, callback):
        fed = WDT.fed
        callback(self)
        print("timer", self._number, period, "feeds" if WDT.fed > fed else "does not feed")


class RTC:
    def datetime(self, values):
        print("clock", values)
