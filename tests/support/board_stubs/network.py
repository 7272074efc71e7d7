"""A `network` with one Wi-Fi, for the unix port: the file /tmp-like `air` in the current folder says what is in the air.

Where there is a module esp32 it is as on one.
"""

STA_IF = 0
AP_IF = 1
AUTH_WPA2_PSK = 3

try:
    import esp32
except ImportError:
    esp32 = None


def hostname(name=None):
    print("hostname", name)


class WLAN:
    PM_NONE = 0 if esp32 else 16

    def __init__(self, kind):
        self._kind = "ap" if kind else "station"
        self._wanted = None
        self._active = False

    def active(self, on=None):
        print(self._kind, "active", on)
        self._active = on

    def config(self, **settings):
        if esp32 and not self._active:
            raise OSError("Wifi Invalid Interface")
        print(self._kind, "config", sorted(settings.items()))

    def ifconfig(self, values=None):
        if values:
            print("static", values)
        return ("127.0.0.1", "255.0.0.0", "127.0.0.1", "127.0.0.1")

    def connect(self, ssid, password=None):
        self._wanted = "%s %s" % (ssid, password)

    def disconnect(self):
        self._wanted = None

    def isconnected(self):
        with open("air") as file:
            air = file.read().strip()
        if air == "storm":
            raise RuntimeError("the driver has failed")
        return self._wanted is not None and air == self._wanted

    def status(self):
        return -3
