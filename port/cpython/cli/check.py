"""`ucomqtt check FILE`: what `ucomqtt --config FILE --check-config` says."""

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
    """Run the command; exit status 0 right, 2 wrong."""
    args = parser().parse_args(arguments)
    from port.cpython.__main__ import main

    return main(["--config", args.file, "--check-config"])
