"""The subject of a certificate in OpenSSL's RFC 2253 form, which mosquitto uses as user name.

Loaded when the subject is the user name. The text is ASCII: other characters stand as their UTF-8 bytes, `\\C3`.
"""

from port.core import const
from port.core.auth.certificate import item, parts

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Optional

# OpenSSL's short names by object identifier; other attributes stand as their number and DER.
_X520 = b"\x55\x04"
_PKCS9 = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09"
_PILOT = b"\x09\x92\x26\x89\x93\xf2\x2c\x64\x01"
_JURISDICTION = b"\x2b\x06\x01\x04\x01\x82\x37\x3c\x02\x01"
_SHORT = {
    _X520: {3: "CN", 4: "SN", 5: "serialNumber", 6: "C", 7: "L", 8: "ST", 9: "street", 10: "O", 11: "OU", 12: "title",
            13: "description", 15: "businessCategory", 17: "postalCode", 41: "name", 42: "GN", 43: "initials",
            44: "generationQualifier", 45: "x500UniqueIdentifier", 46: "dnQualifier", 65: "pseudonym",
            97: "organizationIdentifier"},
    _PKCS9: {1: "emailAddress", 2: "unstructuredName", 8: "unstructuredAddress"},
    _PILOT: {1: "UID", 3: "mail", 25: "DC"},
    _JURISDICTION: {1: "jurisdictionL", 2: "jurisdictionST", 3: "jurisdictionC"},
}  # fmt: skip
_UTF8 = const(0x0C)
_ONE_BYTE = b"\x12\x13\x14\x16"  # tags of string types with one byte a character; names have no others
_TWO_BYTES = const(0x1E)
_FOUR_BYTES = const(0x1C)


def subject(certificate: bytes) -> "Optional[str]":
    """The subject in a DER certificate, such as `CN=alice,O=Home,C=DE`; None without a readable one."""
    found: "list[str]" = []
    try:
        _, at, end = parts(certificate)[4]
        while at < end:
            _, inner, at = item(certificate, at)
            mark = ","
            while inner < at:
                _, start, inner = item(certificate, inner)
                _, start, stop = item(certificate, start)
                found.append(mark)
                found.append(_attribute(certificate[start:stop], certificate, stop))
                mark = "+"
    except (IndexError, ValueError):
        return None
    found.reverse()  # the last attribute comes first
    return "".join(found[:-1]) or None


def _attribute(kind: bytes, data: bytes, at: int) -> str:
    """One attribute whose value stands at data[at]."""
    tag, start, end = item(data, at)
    name = _SHORT.get(kind[:-1], {}).get(kind[-1])
    text = None if name is None else _utf8(tag, data[start:end])
    if text is None:
        return "%s=#%s" % (name or _number(kind), "".join(["%02X" % byte for byte in data[at:end]]))
    last = len(text) - 1
    return name + "=" + "".join([_escaped(text[i], i == last, not i) for i in range(len(text))])  # type: ignore[operator]


def _escaped(byte: int, last: bool, first: bool) -> str:
    char = chr(byte)
    if byte < 0x20 or byte > 0x7E:
        return "\\%02X" % byte
    if char in '"+,;<>\\' or char == " " and (first or last) or char == "#" and first and not last:
        return "\\" + char
    return char


def _utf8(tag: int, data: bytes) -> "Optional[bytes]":
    """A string as UTF-8, None for a value of another type. Raises ValueError."""
    if tag == _UTF8:
        return data
    width = 1 if tag in _ONE_BYTE else 2 if tag == _TWO_BYTES else 4 if tag == _FOUR_BYTES else 0
    if not width:
        return None
    if len(data) % width:
        raise ValueError
    chars = []
    for i in range(0, len(data), width):
        code = int.from_bytes(data[i : i + width], "big")
        if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            raise ValueError
        chars.append(chr(code))
    return "".join(chars).encode()


def _number(kind: bytes) -> str:
    """An object identifier in dotted form."""
    numbers = [0]
    for byte in kind:
        numbers[-1] = numbers[-1] << 7 | byte & 127
        if byte < 128:
            numbers.append(0)
    first = min(numbers[0] // 40, 2)
    return ".".join([str(number) for number in [first, numbers[0] - 40 * first] + numbers[1:-1]])
