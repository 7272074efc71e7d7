"""The broker for a MicroPython firmware: port/core and port/micropython, frozen, never port/cpython.

    make ... FROZEN_MANIFEST=/path/to/ucomqtt/manifest.py

or `include("/path/to/ucomqtt")` in a manifest of your own that brings the port's modules (asyncio) along.
"""

import os
import sys

# The folder of this file is the working directory while a firmware's build runs it. The modules that are always loaded
# together are frozen as one, which takes less flash and memory: tools/bundling/bundles.py.
sys.path.insert(0, os.path.join(os.getcwd(), "tools"))
from bundling.bundles import frozen  # noqa: E402

package("port", base_path=frozen(), opt=3)
