"""Runs on MicroPython: the test_* functions of one file of tests/core.

    micropython tests/run_on_micropython.py tests/core/test_x.py

Expects the repository's root as the working directory. Prints a traceback for
every test that fails; the exit code is 1 if one did, or if there was none.
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
            sys.print_exception(error)
    return count, failed


sys.path.insert(0, "tests/core")
sys.path.insert(0, ".")
count, failed = run(__import__(sys.argv[1].split("/")[-1][:-3]))
print("%d run, %d failed" % (count, failed))
sys.exit(1 if failed or not count else 0)
