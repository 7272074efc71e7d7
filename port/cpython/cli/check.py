"""`ucomqtt check FILE`: the same as `ucomqtt --config FILE --check-config`."""

from __future__ import annotations

import argparse

from port.cpython.cli import command


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(
        prog=command() + " check",
        description="Say whether a configuration is right, with the files it names. Exit status 0: it is, 2: it is not.",
    )
    found.add_argument("file", metavar="FILE", help="the configuration, TOML")
    return found


def main(arguments: list[str]) -> int:
    """Run the command; exit status 0 for a right configuration, 2 for a wrong one."""
    args = parser().parse_args(arguments)
    from port.cpython.__main__ import main

    return main(["--config", args.file, "--check-config"])
