"""The oldest Python the program runs on. What is in here runs on those before it, too, so that they can be told."""

from __future__ import annotations

import sys

OLDEST = (3, 11)


def check_version() -> None:
    """End the program where Python is too old for it, before anything is imported that is not there."""
    version = sys.version_info[:3]
    if version < OLDEST:
        sys.exit("ucomqtt needs Python %d.%d or newer; this is %d.%d.%d" % (*OLDEST, *version))
