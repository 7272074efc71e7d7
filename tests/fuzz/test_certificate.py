"""Names in certificates: the same as another library reads, and a damaged one raises nothing."""

import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from port.core.auth.certificate import names

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
NOW = datetime.datetime(2024, 1, 1)

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=64)
hosts = st.from_regex(r"[a-z]{1,20}(\.[a-z]{1,20}){0,3}", fullmatch=True)


def made(common, alternatives):
    """A certificate in DER."""
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "x"), x509.NameAttribute(NameOID.COMMON_NAME, common)])
    builder = x509.CertificateBuilder(name, name, KEY.public_key(), 1, NOW, NOW + datetime.timedelta(days=1))
    if alternatives:
        found = x509.SubjectAlternativeName([x509.DNSName(host) for host in alternatives])
        builder = builder.add_extension(x509.BasicConstraints(False, None), True).add_extension(found, False)
    return builder.sign(KEY, None).public_bytes(Encoding.DER)


@given(texts, st.lists(hosts, max_size=20))
def test_names_are_those_that_were_put_in(common, alternatives):
    assert names(made(common, alternatives)) == {"cn": common, "san": alternatives}


GOOD = made("alice", ["host.example", "other.example"])


@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=8), st.integers(0, len(GOOD)))
def test_a_damaged_certificate_raises_nothing(changes, size):
    data = bytearray(GOOD)
    for at, value in changes:
        data[at] = value
    found = names(bytes(data[:size]))
    assert found["cn"] is None or isinstance(found["cn"], str)
    assert all(isinstance(name, str) for name in found["san"]) and len(found["san"]) <= 64


@given(st.binary(max_size=500))
def test_garbage_raises_nothing(data):
    names(data)
    names(b"\x30\x82\x01\x00\x30\x82\x00\xf0" + data)
