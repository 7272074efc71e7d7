"""Runs on MicroPython, and on CPython: the test_* functions of files of tests/core.

    micropython tests/run_on_micropython.py tests/core/test_x.py ...

Expects the repository's root as the working directory. Prints a traceback for
every test that fails; the exit code is 1 if one did, or on MicroPython if there was none in a file.
"""

import gc
import sys


def run(module):
    """Run every test of a module; return how many ran and how many failed."""
    count = failed = 0
    for name in sorted(dir(module)):
        if not name.startswith("test_"):
            continue
        count += 1
        gc.collect()
        if "asyncio" in sys.modules:
            # Tasks that an earlier test left behind would go on running.
            sys.modules["asyncio"].new_event_loop()
        try:
            result = module.__dict__[name]()
            if hasattr(result, "send"):
                import asyncio

                asyncio.run(result)
        except Exception as error:
            failed += 1
            print("FAILED", name)
            print_exception(error)
    return count, failed


if hasattr(sys, "print_exception"):
    print_exception = sys.print_exception
else:
    print_exception = __import__("traceback").print_exception

sys.path.insert(0, "tests/core")
sys.path.insert(0, ".")
status = 0
for path in sys.argv[1:]:
    count, failed = run(__import__(path.split("/")[-1][:-3]))
    print("%s: %d run, %d failed" % (path, count, failed))
    # Some files have tests for MicroPython alone.
    if failed or not count and sys.implementation.name == "micropython":
        status = 1
sys.exit(status)
