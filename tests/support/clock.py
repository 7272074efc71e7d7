"""A clock of the day that a test sets, for brokers of both runtimes; libfaketime does it."""

import os
import subprocess

YEAR = 365 * 86400  # s


class Clock:
    """The clock of the day of the processes that have its `variables`; their other clocks are what they are."""

    def __init__(self, faketime, folder):
        listed = subprocess.run([faketime, "-m", "-f", "+0", "env"], capture_output=True, text=True, check=True, timeout=60).stdout
        self._file = folder / "clock"
        self.ahead = 0
        self.set(0)
        self.variables = {
            "LD_PRELOAD": next(line.partition("=")[2] for line in listed.splitlines() if line.startswith("LD_PRELOAD=")),
            "FAKETIME_TIMESTAMP_FILE": str(self._file), "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }  # fmt: skip

    def set(self, ahead):
        """So many s more than now."""
        self.ahead += ahead
        beside = self._file.with_suffix(".new")
        beside.write_text("%+d" % self.ahead)
        os.replace(beside, self._file)
