"""`python3 -m port.cpython passwd`: make and change password files."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
import tempfile
from pathlib import Path

from port.core.auth import passwords as core
from port.core.auth.password_file import check_user_name
from port.cpython.auth import passwords
from port.cpython.cli import command, fail


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(
        prog=command() + " passwd",
        description="Set a user's password in a password file, which -c makes, or delete the user (-D). The password is "
        "asked for, or read from standard input; SIGHUP makes a running broker read the file again.",
    )
    found.add_argument("file", help="the password file")
    found.add_argument("user", nargs="?", help="the user name")
    found.add_argument("password", nargs="?", help="with -b: the password")
    what = found.add_mutually_exclusive_group()
    what.add_argument("-c", "--create", action="store_true", help="make the file; it must not exist")
    what.add_argument("-D", "--delete", action="store_true", help="delete the user")
    what.add_argument("-l", "--list", action="store_true", help="print the user names")
    batch = "take the password from the command line, where others may see it"
    found.add_argument("-b", "--batch", action="store_true", help=batch)
    found.add_argument("--scheme", choices=(core.SCHEME, "argon2id"), default=core.SCHEME, help="default %s" % core.SCHEME)
    found.add_argument(
        "--iterations",
        type=int,
        help="of pbkdf2-sha256 (default %d; a board takes at most %d)" % (passwords.ITERATIONS, core.MAX_ITERATIONS),
    )
    return found


def main(arguments: list[str]) -> int:
    """Run the command; exit status 0 done, 1 failed, 2 misuse."""
    args = parser().parse_args(arguments)
    try:
        return _run(args)
    except OSError as e:
        return fail("%s: %s" % (args.file, e.strerror))
    except ValueError as e:
        return fail(str(e))
    except (EOFError, KeyboardInterrupt):
        return fail("no password given, nothing has changed")


def _run(args: argparse.Namespace) -> int:
    path = Path(args.file)
    if args.user is not None and not path.parent.is_dir():
        raise ValueError("%s: there is no folder %s" % (path, path.parent))
    if args.create and path.exists():
        raise ValueError("%s exists already; leave out -c to change it" % path)
    if args.user is not None and not args.create and not args.delete and not path.exists():
        raise ValueError("there is no file %s; -c makes it" % path)
    lines = [] if args.create else _lines(path)
    users = {} if args.create else passwords.read(args.file)
    if args.list:
        for user in users:
            print(user.decode())
        return 0
    if args.user is None:
        raise ValueError("the user name is missing")
    name = os.fsencode(args.user)
    check_user_name(name)
    if args.delete:
        if name not in users:
            raise ValueError("%s: there is no user %s" % (path, args.user))
        _write(path, [line for line in lines if not _is_of(line, name)])
        return 0
    if args.iterations is not None and args.scheme != core.SCHEME:
        raise ValueError("--iterations is for %s, not for %s" % (core.SCHEME, args.scheme))
    iterations = passwords.ITERATIONS if args.iterations is None else args.iterations
    password = _password(args)
    if not password:
        raise ValueError("the password is empty, nothing has changed")
    record = passwords.hash_password(password, args.scheme, iterations)
    line = name + b":" + record.encode()
    if name in users:
        lines = [line if _is_of(old, name) else old for old in lines]
    else:
        lines.append(line)
    _write(path, lines)
    return 0


def _lines(path: Path) -> list[bytes]:
    lines = path.read_bytes().split(b"\n")
    return lines if lines[-1] else lines[:-1]


def _is_of(line: bytes, name: bytes) -> bool:
    """True for the line of this user."""
    return not line.lstrip().startswith(b"#") and line.partition(b":")[0].strip() == name


def _password(args: argparse.Namespace) -> bytes:
    if args.batch:
        if args.password is None:
            raise ValueError("-b needs the password")
        print("ucomqtt: others can see a password that stands on the command line", file=sys.stderr)
        return os.fsencode(args.password)
    if args.password is not None:
        raise ValueError("a password on the command line can be seen by others; -b takes it all the same")
    if not sys.stdin.isatty():
        return sys.stdin.buffer.readline().rstrip(b"\r\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != password:
        raise ValueError("the two are not the same")
    return password.encode()


def _write(path: Path, lines: list[bytes]) -> None:
    """Replace the file in one step; only its owner may read a new one, an old one keeps owner and mode."""
    target = path.resolve()
    old = target.stat() if target.exists() else None
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=target.name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(line + b"\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
        if old is not None:
            os.chmod(temporary, old.st_mode & 0o7777)
            if os.geteuid() == 0:
                os.chown(temporary, old.st_uid, old.st_gid)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
