"""TLS with keys that both sides know (psk_file), which Python has from 3.13 on; and the refusal before."""

import ssl
from typing import Any

import pytest

from port.cpython.net import tls_psk
from port.cpython.net.tls import server_context

KEY = bytes(range(16))
FILE = "# identity:key\n\nalice:%s\nB\u00f6b: AB\n" % KEY.hex()
HAS_PSK = hasattr(ssl.SSLContext, "set_psk_server_callback")
only_with_psk = pytest.mark.skipif(not HAS_PSK, reason="ssl has pre-shared keys from Python 3.13 on")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "psk.txt"
    path.write_text(FILE, "utf-8")
    return path


def refused(values):
    with pytest.raises(ValueError) as caught:
        server_context(values)
    return str(caught.value)


@pytest.mark.skipif(HAS_PSK, reason="this Python has them")
def test_older_pythons_say_that_they_cannot(file):
    assert refused({"psk_file": str(file)}) == "psk_file needs Python 3.13 or newer"


def test_wrong_settings(file):
    path = str(file)
    for name, value in (("certificate", "x"), ("key", "x"), ("client_ca", "x"), ("chain", "x"), ("require_client_certificate", True)):
        assert refused({"psk_file": path, name: value}) == "psk_file is in place of certificates, %s cannot be beside it" % name
    assert refused({"certificate": "x", "key": "x", "psk_hint": "x"}) == "psk_hint needs psk_file"
    assert refused({"psk_hint": "x"}) == "certificate is missing"
    assert refused({"psk_file": 1}).startswith("psk_file must be a string")


def test_files(tmp_path, file):
    assert tls_psk.read(str(file)) == {"alice": KEY, "B\u00f6b": b"\xab"}
    for text, said in (
        ("", "has no key"), ("# a:00\n", "has no key"), ("alice", "line 1: must be IDENTITY:KEY, the key in hexadecimal"),
        ("a:00\n\nb:", "line 3: must be IDENTITY:KEY, the key in hexadecimal"), (":00", "line 1: must be IDENTITY:KEY"),
        ("a:0", "line 1: must be"), ("a:secret", "line 1: must be"), ("a:00\na:01", "line 2: there is a key for a before"),
        ("%s:00" % ("a" * 257), "line 1: identity and key must have at most 256 bytes"), ("a:%s" % ("00" * 257), "at most 256 bytes"),
    ):  # fmt: skip
        file.write_text(text)
        with pytest.raises(ValueError) as caught:
            tls_psk.read(str(file))
        assert str(caught.value).startswith("psk_file %s" % file) and said in str(caught.value), text
        assert "secret" not in str(caught.value)
    file.write_bytes(b"a:00\xff")
    with pytest.raises(ValueError, match="is not text in UTF-8"):
        tls_psk.read(str(file))
    with pytest.raises(ValueError, match="nowhere: No such file"):
        tls_psk.read(str(tmp_path / "nowhere"))


def met(context, identity, key, version):
    """What a client says that knows this key: the hint it was given, and the version and cipher that were agreed upon."""
    hints = []

    def told(hint):
        hints.append(hint)
        return identity, key

    client: Any = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    client.minimum_version = client.maximum_version = version
    client.set_ciphers("PSK")
    client.set_psk_client_callback(told)
    there, here = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = client.wrap_bio(here, there), context.wrap_bio(there, here, server_side=True)
    for _ in range(4):
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
    sides[1].write(b"hello")
    assert sides[0].read(5) == b"hello"
    return hints, sides[0].version(), sides[0].cipher()[0]


@only_with_psk
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_who_knows_a_key(file, version):
    context = server_context({"psk_file": str(file), "psk_hint": "home"})
    hints, found, cipher = met(context, "alice", KEY, version)
    if version == ssl.TLSVersion.TLSv1_2:
        assert hints == ["home"] and found == "TLSv1.2" and cipher == "ECDHE-PSK-CHACHA20-POLY1305"
    met(context, "B\u00f6b", b"\xab", version)
    for identity, key in (("alice", b"x" * 16), ("bob", KEY), ("", KEY)):
        with pytest.raises(ssl.SSLError):
            met(context, identity, key, version)


@only_with_psk
def test_settings_with_keys(file):
    path = str(file)
    assert met(server_context({"psk_file": path, "ciphers": "PSK-AES128-GCM-SHA256"}), "alice", KEY, ssl.TLSVersion.TLSv1_2)[2] == (
        "PSK-AES128-GCM-SHA256"
    )
    with pytest.raises(ssl.SSLError):
        met(server_context({"psk_file": path, "minimum_version": "1.3"}), "alice", KEY, ssl.TLSVersion.TLSv1_2)
    assert refused({"psk_file": path, "psk_hint": "x" * 257}) == "psk_hint must have from 1 to 256 bytes"
    assert refused({"psk_file": path, "psk_hint": ""}) == "psk_hint must have from 1 to 256 bytes"
