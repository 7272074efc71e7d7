"""JSON Web Tokens as passwords."""

import base64
import hmac
import json

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from back_ends import Clock, admitted, answer, broker_with, figure, may
from port.cpython.auth.jwt import JwtAuthenticator

SECRET = "0123456789abcdef" * 4


def pem(key):
    public = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, public)


@pytest.fixture(scope="session")
def rsa_key():
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make(clock):
    """make(leeway=5): an authenticator for HS256 with SECRET."""

    def make(**settings):
        return JwtAuthenticator({"algorithms": ["HS256"], "secret": SECRET, **settings}, clock)

    return make


@pytest.fixture
def token(clock):
    """token(aud="x"): a token for ann that holds for a minute; a claim that is None is left out."""

    def token(key=SECRET, algorithm="HS256", **claims):
        claims = {"sub": "ann", "exp": clock.now + 60, **claims}
        return jwt.encode({name: value for name, value in claims.items() if value is not None}, key, algorithm).encode()

    return token


def part(value):
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def forged(header, claims, secret=None, hash="sha256"):
    """A token as nobody's library would make it."""
    signed = part(header) + b"." + part(claims)
    return signed + b"." + (part(hmac.digest(secret, signed, hash)) if secret is not None else b"")


async def test_tokens(make, token, clock):
    authenticator = make()
    async with broker_with(authenticator) as world:
        for version, code in ((4, 4), (5, 0x86)):
            client = await admitted(world, b"ann", token(), version=version)
            assert client.conn.session.user == b"ann"
            assert await answer(world, b"ann", token(SECRET + "x"), version=version) == code
            assert await answer(world, b"ann", token() + b"x", version=version) == code
            assert await answer(world, b"bob", token(), version=version) == code
        client = await admitted(world, None, token(), client_id="no name")
        assert client.conn.session.user == b"ann"
        assert (figure(authenticator, "accepted"), figure(authenticator, "refused")) == (3, 6)


async def test_what_is_no_token_is_left_to_the_next(make):
    authenticator = make()
    async with broker_with(authenticator) as world:
        for password in (None, b"", b"right", b"a.b", b"a.b.c.d"):
            assert await answer(world, b"ann", password) == 0x86
        assert figure(authenticator, "refused") == 0
        for password in (b"..", b"a.b.c", b"\xff.\xff.\xff", b"." * 2 + b"x" * 10000):
            assert await answer(world, b"ann", password) == 0x86
        assert figure(authenticator, "refused") == 4


async def test_without_a_library_to_help_it_a_forged_token_stays_out(make, clock):
    claims = {"sub": "ann", "exp": clock.now + 60}
    right = forged({"alg": "HS256", "typ": "JWT"}, claims, SECRET.encode())
    async with broker_with(make()) as world:
        assert await answer(world, b"ann", right) == 0
        for header, secret in (
            ({"alg": "none"}, None),
            ({"alg": "None"}, None),
            ({"alg": "NONE"}, b""),
            ({"alg": "none"}, SECRET.encode()),
            ({"alg": "HS256"}, None),
            ({"alg": "HS256"}, b""),
            ({"alg": ""}, SECRET.encode()),
            ({}, SECRET.encode()),
            ({"alg": ["HS256"]}, SECRET.encode()),
            ({"alg": "HS256", "crit": ["x"], "x": 1}, SECRET.encode()),
            ([], SECRET.encode()),
        ):
            assert await answer(world, b"ann", forged(header, claims, secret)) == 0x86, header
        assert await answer(world, b"ann", forged({"alg": "HS384"}, claims, SECRET.encode(), "sha384")) == 0x86


async def test_a_public_key_is_no_secret(rsa_key, token, clock, tmp_path):
    """Algorithm confusion: a token signed with the public key as the secret of an HMAC."""
    path = tmp_path / "key.pem"
    path.write_bytes(pem(rsa_key))
    authenticator = JwtAuthenticator({"algorithms": ["RS256"], "key_file": str(path)}, clock)
    claims = {"sub": "ann", "exp": clock.now + 60}
    async with broker_with(authenticator) as world:
        assert await answer(world, b"ann", token(rsa_key, "RS256")) == 0
        for secret in (pem(rsa_key), pem(rsa_key).strip()):
            assert await answer(world, b"ann", forged({"alg": "HS256"}, claims, secret)) == 0x86
        assert await answer(world, b"ann", token(rsa_key, "RS512")) == 0x86
        other = rsa.generate_private_key(65537, 2048)
        assert await answer(world, b"ann", token(other, "RS256")) == 0x86
        own_key = jwt.encode(claims, other, "RS256", {"jwk": {"kty": "RSA"}, "jku": "http://x"}).encode()
        assert await answer(world, b"ann", own_key) == 0x86


CURVES = (("ES256", ec.SECP256R1()), ("ES384", ec.SECP384R1()), ("ES512", ec.SECP521R1()))


@pytest.mark.parametrize(("algorithm", "curve"), CURVES)
async def test_elliptic_curves(token, clock, tmp_path, algorithm, curve):
    key = ec.generate_private_key(curve)
    path = tmp_path / "key.pem"
    path.write_bytes(pem(key))
    authenticator = JwtAuthenticator({"algorithms": [algorithm], "key_file": str(path)}, clock)
    async with broker_with(authenticator) as world:
        assert await answer(world, b"ann", token(key, algorithm)) == 0
        assert await answer(world, b"ann", token(ec.generate_private_key(curve), algorithm)) == 0x86


@pytest.mark.parametrize("algorithm", ("HS256", "HS384", "HS512"))
async def test_hashes(make, token, algorithm):
    async with broker_with(make(algorithms=[algorithm])) as world:
        for other in ("HS256", "HS384", "HS512"):
            assert await answer(world, b"ann", token(algorithm=other)) == (0 if other == algorithm else 0x86)


@pytest.mark.parametrize(
    ("claims", "settings", "right"),
    (
        ({"exp": -1}, {}, False),
        ({"exp": 0}, {}, False),
        ({"exp": 1}, {}, True),
        ({"exp": -4}, {"leeway": 5}, True),
        ({"exp": -5}, {"leeway": 5}, False),
        ({"exp": None}, {}, False),
        ({"exp": None}, {"require_exp": False}, True),
        ({"exp": "tomorrow"}, {}, False),
        ({"exp": True}, {}, False),
        ({"exp": float("inf")}, {}, True),
        ({"exp": float("nan")}, {}, False),
        ({"nbf": 1}, {}, False),
        ({"nbf": 0}, {}, True),
        ({"nbf": 5}, {"leeway": 5}, True),
        ({"iat": 1}, {}, False),
        ({"iat": "x"}, {}, False),
        ({"aud": "x"}, {}, False),
        ({"aud": "x"}, {"audience": "x"}, True),
        ({"aud": ["y", "x"]}, {"audience": "x"}, True),
        ({"aud": "y"}, {"audience": "x"}, False),
        ({"aud": 1}, {"audience": "x"}, False),
        ({}, {"audience": "x"}, False),
        ({"iss": "x"}, {}, True),
        ({"iss": "x"}, {"issuer": "x"}, True),
        ({"iss": "y"}, {"issuer": "x"}, False),
        ({}, {"issuer": "x"}, False),
        ({"sub": None}, {}, False),
        ({"sub": ""}, {}, False),
        ({"sub": 1}, {}, False),
        ({"sub": "\ud800"}, {"check_user": False}, False),
        ({"name": "ann", "sub": "x"}, {"user_claim": "name"}, True),
        ({"name": ["ann"]}, {"user_claim": "name"}, False),
        ({"name": "a\0"}, {"user_claim": "name", "check_user": False}, False),
        ({"sub": "other"}, {"check_user": False}, True),
        ({"cid": "c"}, {"client_id_claim": "cid"}, True),
        ({"cid": "d"}, {"client_id_claim": "cid"}, False),
        ({}, {"client_id_claim": "cid"}, False),
    ),
)
async def test_claims(make, clock, claims, settings, right):
    for name in ("exp", "nbf", "iat"):
        if type(claims.get(name)) in (int, float):
            claims = {**claims, name: clock.now + claims[name]}
    whole = {"sub": "ann", "exp": clock.now + 60, **claims}
    token = forged({"alg": "HS256"}, {name: value for name, value in whole.items() if value is not None}, SECRET.encode())
    async with broker_with(make(**settings)) as world:
        assert await answer(world, b"ann", token) == (0 if right else 0x86)


async def test_disconnected_when_the_token_expires(make, token):
    async with broker_with(make(leeway=10)) as world:
        client = await admitted(world, b"ann", token())
        forever = await admitted(world, b"ann", token(exp=10**30), client_id="d")
        world.advance(69_000)
        client.ping()
        world.advance(1_000)
        client.expect_close(0xA0)
        world.advance(1_000_000)
        forever.ping()


async def test_token_as_the_user_name(make, token):
    async with broker_with(make(token_in="user")) as world:
        client = await admitted(world, token(), b"whatever")
        assert client.conn.session.user == b"ann"
        assert await answer(world, b"ann", token()) == 0x86


@pytest.mark.parametrize(
    "claims",
    (
        {"acl": [{"allow": False, "topic": "no"}, {"actions": ["publish"], "topic": "p"}, {"actions": ["subscribe"], "topic": "s"},
                 {"topic": "both/%u/%c"}]},
        {"acl": {"pub": ["p"], "sub": ["s"], "all": ["both/${username}/${clientid}"]}},
        {"publ": ["p", "both/ann/c"], "subs": ["s", "both/+/c"]},
        {"acl": {"publ": ["p", "both/ann/%c"], "subs": ["s", "both/%u/c"]}},
    ),
)  # fmt: skip
async def test_rights(make, token, claims):
    async with broker_with(make()) as world:
        client = await admitted(world, b"ann", token(**claims))
        may(client, "p", True, False)
        may(client, "s", False, True)
        may(client, "both/ann/c", True, True)
        may(client, "no", False, False)
        may(client, "other", False, False)


async def test_no_rights_and_none_mentioned(make, token):
    async with broker_with(make(acl_claim="rights")) as world:
        may(await admitted(world, b"ann", token(acl=[]), client_id="1"), "t", True, True)
        may(await admitted(world, b"ann", token(rights=[]), client_id="2"), "t", False, False)
        may(await admitted(world, b"ann", token(rights={}), client_id="3"), "t", False, False)
        may(await admitted(world, b"ann", token(publ=[]), client_id="4"), "t", False, False)


@pytest.mark.parametrize(
    "acl",
    ("all", 1, [1], {"pub": "t"}, {"pub": [1]}, [{"topic": "a#"}], [{"topic": "t", "alow": True}], [{"topic": "t"}] * 4),
)
async def test_rights_that_nobody_understands_keep_the_client_out(make, token, caplog, acl):
    authenticator = make(max_rules=3)
    async with broker_with(authenticator) as world:
        assert await answer(world, b"ann", token(acl=acl)) == 0x86
        assert figure(authenticator, "errors") == 1 and "authenticator a" in caplog.text


@pytest.mark.parametrize(
    ("settings", "text"),
    (
        ({"algorithms": []}, "algorithms is missing"),
        ({"algorithms": ["none"]}, "algorithms must be one of HS256"),
        ({"algorithms": ["HS256", "RS256"]}, "algorithms must be of one kind"),
        ({"algorithms": "HS256"}, "algorithms must be a list of strings"),
        ({"secret": "short"}, "secret must have 32 bytes at least"),
        ({"secret": ""}, "secret must have 32 bytes at least"),
        ({"secret": SECRET[:47], "algorithms": ["HS256", "HS384"]}, "secret must have 48 bytes at least"),
        ({"secret": "-----BEGIN PUBLIC KEY-----\nMII"}, "secret is a PEM file"),
        ({"key_file": "x"}, "key_file is for RS*"),
        ({"algorithms": ["RS256"], "key_file": "x"}, "secret is for HS*"),
        ({"algorithms": ["RS256"], "secret": ""}, "key_file is missing"),
        ({"user_claim": ""}, "user_claim is missing"),
        ({"leeway": -1}, "leeway must be from 0 to 3600 s"),
    ),
)
def test_wrong_settings(make, settings, text):
    with pytest.raises(ValueError) as caught:
        make(**settings)
    assert text in str(caught.value)


def test_keys_that_are_none(rsa_key, tmp_path):
    path = tmp_path / "key.pem"
    settings = {"algorithms": ["ES256"], "key_file": str(path)}
    with pytest.raises(OSError):
        JwtAuthenticator(settings)
    none = serialization.NoEncryption()
    private = rsa_key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, none)
    wrong = "no public key for ES256"
    for data, text in ((b"nonsense", wrong), (pem(rsa_key), wrong), (private, "private key")):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=text):
            JwtAuthenticator(settings)


def test_secret_file(tmp_path):
    path = tmp_path / "secret"
    path.write_text(SECRET + "\n")
    JwtAuthenticator({"algorithms": ["HS256"], "secret_file": str(path)})
