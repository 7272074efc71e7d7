"""The password file: one line per user, `name:record`; empty lines and lines that begin with `#` are skipped.

Records: see port.core.auth.passwords.
"""

from port.core import const
from port.core.wire.codec import is_utf8
from port.core.auth.passwords import SCHEME, Pbkdf2, base64, read_record

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Optional

DEFAULT_ITERATIONS = 1000  # for records made on a board: about a quarter of a second on an RP2040
MAX_USER_NAME = 256  # bytes
MAX_LINE = 1024  # bytes of a line in a password file


def write_record(iterations: int, salt: bytes, digest: bytes) -> str:
    """The record of a password whose PBKDF2-HMAC-SHA256 is `digest`."""
    return "$%s$i=%d$%s$%s" % (SCHEME, iterations, base64(salt), base64(digest))


def make_record(password: bytes, salt: bytes, iterations: int = DEFAULT_ITERATIONS) -> str:
    """The record of a password, computed in one go; `salt`: 16 random bytes, such as os.urandom(16).

    Raises ValueError for a password that is never right.
    """
    check_password(password)
    return write_record(iterations, salt, Pbkdf2(password, salt, iterations).step(iterations) or b"")


def check_password(password: bytes) -> None:
    """Raises ValueError for a password that is never right, see port.core.auth.passwords."""
    if b"\0" in password:
        raise ValueError("a password must not contain a NUL character")


def check_user_name(name: bytes) -> None:
    """Raises ValueError for a user name that cannot stand in a password file."""
    if not name or name != name.strip():
        raise ValueError("a user name must not be empty, nor begin or end with a blank")
    if len(name) > MAX_USER_NAME:
        raise ValueError("a user name must not be longer than %d bytes" % MAX_USER_NAME)
    if not is_utf8(name):
        raise ValueError("a user name must be valid UTF-8")
    if b":" in name or name.startswith(b"#") or name.startswith(b"\xef\xbb\xbf"):
        raise ValueError("a user name must not contain ':', nor begin with '#' or a byte order mark")
    for byte in name:
        if byte < 0x20 or byte == 0x7F:
            raise ValueError("a user name must not contain control characters")


def parse_line(line: bytes, check: "Callable[[str], Any]" = read_record) -> "Optional[tuple[bytes, str]]":
    """User name and record of one line, None for an empty line or a comment. Raises ValueError saying what is wrong.

    check  called with the record; raises ValueError for a wrong one
    """
    line = line.strip()
    if not line or line.startswith(b"#"):
        return None
    if len(line) > MAX_LINE:
        raise ValueError("longer than %d bytes" % MAX_LINE)
    name, colon, record = line.partition(b":")
    if not colon:
        raise ValueError("not of the form name:record")
    if b":" in record:
        raise ValueError("more than one ':', a user name must not contain any")
    name = name.strip()
    record = record.strip()
    check_user_name(name)
    if not is_utf8(record):
        raise ValueError("not valid UTF-8")
    text = str(record, "utf-8")
    check(text)
    return name, text


def parse(lines: "Iterable[bytes]", check: "Callable[[str], Any]" = read_record) -> "dict[bytes, str]":
    """Records by user name from the lines of a password file, such as open(path, "rb").

    Raises ValueError with line number and reason. `check`: see parse_line.
    """
    users: "dict[bytes, str]" = {}
    number = 0
    for line in lines:
        number += 1
        try:
            entry = parse_line(line, check)
            if entry is not None:
                if entry[0] in users:
                    raise ValueError("user %s is there already" % str(entry[0], "utf-8"))
                users[entry[0]] = entry[1]
        except ValueError as e:
            raise ValueError("line %d: %s" % (number, e)) from None
    return users


def table_lines(users: "dict[str, Any]") -> "list[bytes]":
    """The lines of a password file that hold a configuration's table of users. Raises ValueError naming a wrong one."""
    for name in users:
        if not isinstance(users[name], str):
            raise ValueError("the hash of user %s must be a string" % name)
    return [("%s:%s" % (name, users[name])).encode() for name in users]
