"""The names in a client's certificate, and the authenticator that believes one of them."""

from harness import raises
from port.core import TYPE_CHECKING
from port.core.certificate import CertificateAuthenticator, make, names

if TYPE_CHECKING:
    from typing import Any

NOTHING: "dict[str, Any]" = {"cn": None, "san": []}


class Client:
    def __init__(self, certificate):
        self.certificate = certificate
        self.user = b"said"


# (field, certificate, answer, user name)
CLIENTS = (
    ("cn", {"cn": "älice", "san": ["host"]}, 0, "älice".encode()),
    ("san", {"cn": "alice", "san": ["host", "other"]}, 0, b"host"),
    ("cn", None, None, b"said"),
    ("cn", {"cn": None, "san": ["host"]}, None, b"said"),
    ("cn", {"cn": "", "san": []}, None, b"said"),
    ("cn", {"cn": "root\0.example", "san": []}, None, b"said"),
    ("san", {"cn": "alice", "san": []}, None, b"said"),
    ("san", {"cn": "alice", "san": ["root\0.example", "other"]}, None, b"said"),
)


def test_authenticator():
    for field, certificate, code, user in CLIENTS:
        client = Client(certificate)
        assert make({"field": field}).authenticate(client, b"said", b"password") == code  # type: ignore[arg-type]
        assert client.user == user


def test_settings():
    client = Client({"cn": "alice", "san": ["host"]})
    assert make({}).authenticate(client, None, None) == 0 and client.user == b"alice"  # type: ignore[arg-type]
    for settings in ({"field": "ou"}, {"field": 1}, {"feld": "cn"}):
        assert "field" in str(raises(ValueError, make, settings))
    raises(ValueError, CertificateAuthenticator, "CN")


# -- names -------------------------------------------------------------------------------------------


def item(tag, content):
    """One item of DER."""
    size = len(content)
    length = bytes((size,)) if size < 128 else b"\x82" + size.to_bytes(2, "big")
    return bytes((tag,)) + length + content


def common_name(text, kind=0x0C):
    return item(0x31, item(0x30, item(6, b"\x55\x04\x03") + item(kind, text)))


def certificate(subject, alternatives=None, version=True):
    """What a certificate looks like as far as the names, without key and signature."""
    parts = item(0xA0, item(2, b"\2")) if version else b""
    parts += item(2, b"\1") + item(0x30, b"") + item(0x30, b"") + item(0x30, b"") + item(0x30, subject) + item(0x30, b"")
    if alternatives is not None:
        extension = item(0x30, item(6, b"\x55\x1d\x11") + item(4, item(0x30, alternatives)))
        parts += item(0xA3, item(0x30, item(0x30, item(6, b"\x55\x1d\x0f") + item(4, b"\3")) + extension))
    return item(0x30, item(0x30, parts) + item(0x30, b""))


def test_names():
    other = item(0x31, item(0x30, item(6, b"\x55\x04\x0a") + item(0x0C, b"organisation")))
    kinds = item(0x81, b"a@b") + item(0xA0, b"?") + item(0x82, b"host") + item(0x86, b"urn:x")
    kinds += item(0x87, bytes((192, 0, 2, 1))) + item(0x87, bytes(15) + b"\1") + item(0x87, b"???")
    assert names(certificate(other + common_name("älice".encode()) + common_name(b"second"), kinds)) == {
        "cn": "älice", "san": ["a@b", "host", "urn:x", "192.0.2.1", "0:0:0:0:0:0:0:1"],
    }  # fmt: skip
    assert names(certificate(common_name(b"old", 0x13), None, False)) == {"cn": "old", "san": []}
    assert names(certificate(common_name(b"\0a", 0x1E))) == NOTHING  # UTF-16
    assert names(certificate(other)) == NOTHING


def test_names_that_cannot_be_read():
    good = certificate(common_name(b"alice"), item(0x82, b"host"))
    for size in range(len(good)):
        found = names(good[:size])
        assert found["cn"] in (None, "alice") and found["san"] in ([], ["host"])
    assert names(certificate(common_name(b"\xff"), item(0x82, b"host"))) == NOTHING
    assert names(certificate(common_name(b"alice"), item(0x82, b"\xff"))) == {"cn": "alice", "san": []}
    for data in (b"", b"0", b"0\0", b"0\x80", b"\x30\xff" + b"\xff" * 200):
        assert names(data) == NOTHING


def test_only_so_many_names_are_looked_at():
    found = names(certificate(common_name(b"alice"), item(0x82, b"h") * 1000))
    assert found["cn"] == "alice" and found["san"] == ["h"] * 64
    assert names(certificate(item(0x31, b"") * 64 + common_name(b"alice"))) == NOTHING
