"""`python -m ucomqtt`: what `ucomqtt` and `python -m port.cpython` do."""

import sys

from port.cpython.cli import main

if __name__ == "__main__":
    sys.exit(main())
