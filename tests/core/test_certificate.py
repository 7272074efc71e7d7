"""The names in a client's certificate, and the authenticator that believes one of them."""

from harness import raises
from port.core import TYPE_CHECKING
from port.core.auth.certificate import CertificateAuthenticator, make, names
from port.core.auth.certificate_subject import subject

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
    for settings in ({"field": "subj"}, {"field": "ou"}, {"field": 1}, {"feld": "cn"}):
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


# -- the subject ---------------------------------------------------------------------------------------


def attribute(kind, text, tag=0x0C):
    return item(0x30, item(6, kind) + item(tag, text))


def part(*attributes):
    return item(0x31, b"".join(attributes))


CN = b"\x55\x04\x03"
ORG = b"\x55\x04\x0a"
EMAIL = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x01"
# What OpenSSL 3.0 makes of them, X509_NAME_print_ex with XN_FLAG_RFC2253.
SUBJECTS = (
    (part(attribute(b"\x55\x04\x06", b"DE", 0x13)) + part(attribute(ORG, b"Home")) + part(attribute(CN, b"alice")),
     "CN=alice,O=Home,C=DE"),
    (part(attribute(CN, b"a"), attribute(ORG, b"b")) + part(attribute(EMAIL, b"a@b", 0x16)), "emailAddress=a@b,O=b+CN=a"),
    (part(attribute(b"\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x01", b"u")), "UID=u"),
    (part(attribute(b"\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x19", b"org", 0x16)), "DC=org"),
    (part(attribute(CN, b'a,b+c"d\\e<f>g;h=i#j')), 'CN=a\\,b\\+c\\"d\\\\e\\<f\\>g\\;h=i#j'),
    (part(attribute(CN, b" a b ")), "CN=\\ a b\\ "),
    (part(attribute(CN, b"#a#")), "CN=\\#a#"),
    (part(attribute(CN, b"#")), "CN=#"),
    (part(attribute(CN, b" ")), "CN=\\ "),
    (part(attribute(CN, b"")), "CN="),
    (part(attribute(CN, b"a\0\n\x7f")), "CN=a\\00\\0A\\7F"),
    (part(attribute(CN, "\u00e4\u20ac".encode())), "CN=\\C3\\A4\\E2\\82\\AC"),
    (part(attribute(CN, b"\xe4", 0x14)), "CN=\\C3\\A4"),
    (part(attribute(CN, b"\0a\x20\xac", 0x1E)), "CN=a\\E2\\82\\AC"),
    (part(attribute(CN, b"\0\1\xf6\0", 0x1C)), "CN=\\F0\\9F\\98\\80"),
    (part(attribute(CN, b"\0\1", 3)), "CN=#03020001"),
    (part(attribute(b"\x2b\x06\x01\x04\x01\x83\x37\x01", b"x")), "1.3.6.1.4.1.439.1=#0C0178"),
    (part(attribute(b"\x88\x37\x03", b"x")), "2.999.3=#0C0178"),
)


def test_subjects():
    for found, text in SUBJECTS:
        assert subject(certificate(found)) == text
    whole = b"".join([found for found, _ in SUBJECTS * 5])  # all of it, however many: another one is not the same
    assert subject(certificate(whole)) == ",".join([text for _, text in reversed(SUBJECTS)] * 5)


# OpenSSL's short names of attributes, by the last number of their object identifiers.
KINDS = (
    (b"\x55\x04", ((3, "CN"), (4, "SN"), (5, "serialNumber"), (6, "C"), (7, "L"), (8, "ST"), (9, "street"), (10, "O"), (11, "OU"),
                   (12, "title"), (13, "description"), (15, "businessCategory"), (17, "postalCode"), (41, "name"), (42, "GN"),
                   (43, "initials"), (44, "generationQualifier"), (45, "x500UniqueIdentifier"), (46, "dnQualifier"), (65, "pseudonym"),
                   (97, "organizationIdentifier"))),
    (EMAIL[:-1], ((1, "emailAddress"), (2, "unstructuredName"), (8, "unstructuredAddress"))),
    (b"\x09\x92\x26\x89\x93\xf2\x2c\x64\x01", ((1, "UID"), (3, "mail"), (25, "DC"))),
    (b"\x2b\x06\x01\x04\x01\x82\x37\x3c\x02\x01", ((1, "jurisdictionL"), (2, "jurisdictionST"), (3, "jurisdictionC"))),
)  # fmt: skip


def test_names_of_attributes():
    for kind, names_by_number in KINDS:
        known = dict(names_by_number)
        for number in range(1, 128):
            found = subject(certificate(part(attribute(kind + bytes((number,)), b"x"))))
            assert found is not None
            assert found == known[number] + "=x" if number in known else found.endswith(".%d=#0C0178" % number)


def test_subjects_that_cannot_be_read():
    good = certificate(SUBJECTS[0][0])
    for size in range(len(good)):
        assert subject(good[:size]) is None
    for found in (b"", part(attribute(CN, b"\0", 0x1E)), part(attribute(CN, b"\xd8\0", 0x1E)), part(attribute(CN, b"\0\x11\0\0", 0x1C))):
        assert subject(certificate(found)) is None
    assert subject(b"") is None


def test_the_subject_as_user_name():
    authenticator = make({"field": "subject"})
    for found, answer, user in ((SUBJECTS[0][0], 0, b"CN=alice,O=Home,C=DE"), (b"", None, b"said")):
        client = Client({"cn": "alice", "san": [], "der": certificate(found)})
        assert authenticator.authenticate(client, b"said", None) == answer and client.user == user  # type: ignore[arg-type]
    client = Client(None)
    assert authenticator.authenticate(client, b"said", None) is None  # type: ignore[arg-type]
