"""`ucomqtt cert FOLDER`: a private certificate authority and certificates, to try TLS out.

The folder gets ca.pem and ca.key (keep it secret: it makes certificates that all clients accept), server.pem and server.key, the
same as server.der and server.key.der for MicroPython, and client-NAME.pem and client-NAME.key. An authority in the folder is used
again unless --force replaces it; certificates that are requested again are made anew.
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from port.cpython.cli import command, fail
from port.cpython.extras import install

HOSTS = ("localhost", "127.0.0.1", "::1")
DAYS = 730
CA_DAYS = 3650


def days(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if not 1 <= number <= CA_DAYS:
        raise argparse.ArgumentTypeError(f"must be a number from 1 to {CA_DAYS}, not {text!r}")
    return number


def advice(folder: Path, name: str, clients: list[str]) -> str:
    """The next steps: a command that works when the broker uses the files."""
    words = ["mosquitto_pub", "-h", name, "-p", "8883", "--cafile", str(folder / "ca.pem")]
    if clients:
        words += ["--cert", str(folder / f"client-{clients[0]}.pem"), "--key", str(folder / f"client-{clients[0]}.key")]
    words += ["-t", "greetings/first", "-m", "hello, world"]
    return (
        "Give the broker's listener server.pem and server.key, and ca.pem as client_ca if clients must have\n"
        "certificates, too. Give each client ca.pem. Then:\n\n  " + shlex.join(words)
    )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(
        prog=command() + " cert",
        description=(__doc__ or "").partition("\n\n")[2],
        epilog="Needs the Python library cryptography: %s." % install("cert"),
    )
    found.add_argument("folder", type=Path, metavar="FOLDER", help="folder for the files; made if missing")
    found.add_argument("--host", nargs="+", default=[], metavar="NAME_OR_IP",
                       help="names and addresses of the broker (default %s)" % " ".join(HOSTS))  # fmt: skip
    found.add_argument("--client", nargs="+", default=[], metavar="NAME", help="names of clients that get certificates")
    found.add_argument(
        "--days", type=days, default=DAYS, metavar="N", help="validity of certificates (default %(default)s)"
    )
    found.add_argument("--key", choices=("ec", "rsa"), default="ec", help="kind of new keys (default ec)")
    found.add_argument("--force", action="store_true", help="replace an authority in the folder")
    return found


def main(arguments: list[str]) -> int:
    """Run the command; exit status 0 done, 1 failed, 2 misuse."""
    options = parser().parse_args(arguments)
    try:
        from port.cpython.cli import authority
    except ImportError:
        return fail("cert: the Python library cryptography is missing: " + install("cert"))
    try:
        report = authority.make(options)
    except authority.CertError as e:
        return fail("cert: %s" % e)
    print("\n".join(report) + "\n\n" + advice(options.folder, (options.host or HOSTS)[0], options.client))
    return 0
