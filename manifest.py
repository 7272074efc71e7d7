"""The broker for a MicroPython firmware: port/core and port/micropython, frozen, never port/cpython.

    make ... FROZEN_MANIFEST=/path/to/ucomqtt/manifest.py

or `include("/path/to/ucomqtt")` in a manifest of your own that brings the port's modules (asyncio) along.
"""

package("port", ("__init__.py",), opt=3)
package("port/core", opt=3)
package("port/micropython", opt=3)
