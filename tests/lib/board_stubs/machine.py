"""A `machine` for the unix port: what pins are set to is printed, their state is in the file `pin-NUMBER`."""

import sys

WDT_RESET = 3
PWRON_RESET = 1


def reset():
    sys.exit(66)


def reset_cause():
    return PWRON_RESET


class Pin:
    IN = 0
    OUT = 1
    PULL_UP = 1
    IRQ_RISING = 1
    IRQ_FALLING = 2

    def __init__(self, name, mode=0, pull=None):
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


class WDT:
    def __init__(self, timeout):
        print("watchdog", timeout)

    def feed(self):
        pass


class Timer:
    def __init__(self, number):
        pass

    def init(self, period, callback):
        print("timer", period)
