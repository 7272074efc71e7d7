"""JSON Web Tokens (RFC 7519): the client sends a token that a trusted issuer has signed.

The token is the password or the user name. The configuration, never the token, names the permitted algorithms; keys for HMAC and
keys for signatures do not mix. A client whose password is not a token is left to the next authenticator. Claims:

    exp              the client is disconnected then
    nbf, iat         respected
    aud, iss         must be the configured ones; a token that names an audience when none is configured is refused
    sub              the user name, see `user_claim`
    acl              rules as in the configuration, or {"pub": [FILTER, ...], "sub": [...], "all": [...]}; instead of
                     it `publ` and `subs` may list filters. In filters ${username} and ${clientid} are filled in
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from port.core.auth.authenticator import Identity
from port.core.acl.acl import Rule
from port.cpython.auth.base import REFUSED, BackEnd, BackEndError, Verdict, is_user_name
from port.cpython.auth.rights import rules_from
from port.cpython.auth.settings import Setting, library, secret

_HASHES = {"HS256": 32, "HS384": 48, "HS512": 64}  # bytes of the hash, the least of a secret
_SIGNATURES = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512")
# List of filters in the token -> allowed actions.
_PUBLISH, _SUBSCRIBE = ["publish"], ["subscribe"]
_LISTS = {"pub": _PUBLISH, "publ": _PUBLISH, "sub": _SUBSCRIBE, "subs": _SUBSCRIBE, "all": _PUBLISH + _SUBSCRIBE}


class JwtAuthenticator(BackEnd):
    """Verifies tokens; needs the extra `jwt`."""

    SETTINGS = (
        Setting("algorithms", (), "with which a token may be signed: HS* with secret, RS* and ES* with key_file",
                choices=(*_HASHES, *_SIGNATURES), required=True),
        Setting("secret", "", "the secret of HS*, at least as long as the hash", secret=True),
        Setting("secret_file", "", "file whose first line is that secret"),
        Setting("key_file", "", "file with the public key of RS* or ES*, PEM"),
        Setting("token_in", "password", "where the client puts the token", choices=("password", "user")),
        Setting("user_claim", "sub", "the claim that is the user name; a token without it is refused"),
        Setting("check_user", True, "whether a user name in CONNECT must be that of the token"),
        Setting("client_id_claim", "", "a claim that must be the client id; empty: none"),
        Setting("acl_claim", "acl", "the claim that holds the rights; a token without it leaves them to the configuration"),
        Setting("audience", "", "what `aud` must be or contain"),
        Setting("issuer", "", "what `iss` must be"),
        Setting("require_exp", True, "whether a token that holds for ever is refused"),
        Setting("leeway", 0, "by how much clocks may differ", "s", 0, 3600),
        Setting("max_rules", 1000, "rules in one token", "", 1, 1000000),
    )  # fmt: skip

    def __init__(self, settings: Mapping[str, Any], wall: Callable[[], float] = time.time) -> None:
        """See BackEnd."""
        super().__init__(settings, wall)
        values = self.settings
        self._algorithms: tuple[str, ...] = values["algorithms"]
        hashes = [name for name in self._algorithms if name in _HASHES]
        if hashes and len(hashes) < len(self._algorithms):
            # A public key must not serve as a secret.
            raise ValueError("algorithms must be of one kind: HS*, or RS* and ES*")
        if not values["user_claim"]:
            raise ValueError("user_claim is missing")
        self._jwt = library("jwt", "jwt")
        self._key = self._secret(hashes) if hashes else self._public_key()

    def _secret(self, algorithms: list[str]) -> bytes:
        key = secret(self.settings, "secret").encode()
        if self.settings["key_file"]:
            raise ValueError("key_file is for RS* and ES*, HS* need a secret")
        if b"-----BEGIN" in key:
            raise ValueError("secret is a PEM file, which is no secret")
        least = max(_HASHES[name] for name in algorithms)
        if len(key) < least:  # RFC 7518 clause 3.2
            raise ValueError("secret must have %d bytes at least for %s" % (least, ", ".join(algorithms)))
        return key

    def _public_key(self) -> Any:
        path = self.settings["key_file"]
        if not path:
            raise ValueError("key_file is missing")
        if self.settings["secret"] or self.settings["secret_file"]:
            raise ValueError("secret is for HS*, RS* and ES* need a key_file")
        data = Path(path).read_bytes()
        if b"PRIVATE KEY" in data:
            raise ValueError("key_file holds a private key; the public one is enough, and safer here")
        library("cryptography", "jwt")
        key: Any = None
        for name in self._algorithms:
            try:
                key = self._jwt.get_algorithm_by_name(name).prepare_key(data)
            except (self._jwt.PyJWTError, ValueError, TypeError):
                raise ValueError("key_file holds no public key for %s: %s" % (name, path)) from None
        return key

    def authenticate(self, client: Identity, user: bytes | None, password: bytes | None) -> int | None:
        """See Authenticator.authenticate. It takes a fraction of a millisecond, so it runs at once."""
        self.broker = client.broker
        in_user = self.settings["token_in"] == "user"
        token = user if in_user else password
        if token is None or token.count(b".") != 2:
            return None
        try:
            claims = self._claims(token)
            verdict = self._verdict(claims, client.client_id, None if in_user else user)
        except BackEndError as e:
            self.errors += 1
            self.report("a token that was signed properly is of no use: %s" % e)
            verdict = REFUSED
        return self.admit(client, verdict)

    def _claims(self, token: bytes) -> dict[str, Any] | None:
        """The claims of a valid token, else None."""
        values = self.settings
        try:
            claims: dict[str, Any] = self._jwt.decode(
                token,
                self._key,
                algorithms=list(self._algorithms),
                audience=values["audience"] or None,
                issuer=values["issuer"] or None,
                leeway=values["leeway"],
                options={
                    "require": ["exp"] if values["require_exp"] else [],
                    # Checked below by `wall`.
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
            return claims if self._in_time(claims) else None
        except (self._jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
            return None

    def _in_time(self, claims: Mapping[str, Any]) -> bool:
        now = self.wall()
        leeway: int = self.settings["leeway"]
        for name in ("exp", "nbf", "iat"):
            value = claims.get(name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                return False
            # Written so that NaN fails.
            if not (now < value + leeway if name == "exp" else value - leeway <= now):
                return False
        return True

    def _verdict(self, claims: Mapping[str, Any] | None, client_id: bytes, user: bytes | None) -> Verdict:
        values = self.settings
        if claims is None:
            return REFUSED
        name = claims.get(values["user_claim"])
        if not is_user_name(name):
            return REFUSED
        if user and values["check_user"] and user != name.encode():
            return REFUSED
        wanted = values["client_id_claim"]
        if wanted and claims.get(wanted) != client_id.decode():
            return REFUSED
        expires = claims.get("exp")
        if expires is not None:
            expires += values["leeway"]
        return Verdict(user=name, rules=self._rules(claims), expires_at=expires)

    def _rules(self, claims: Mapping[str, Any]) -> list[Rule] | None:
        acl = claims.get(self.settings["acl_claim"])
        if acl is None:
            acl = {name: claims[name] for name in ("publ", "subs") if name in claims} or None
        if acl is None:
            return None
        if isinstance(acl, dict):
            acl = [
                {"actions": actions, "topic": topic}
                for name, actions in _LISTS.items()
                for topic in _filters(name, acl.get(name, []))
            ]
        if isinstance(acl, list):
            acl = [_filled_in(values) for values in acl]
        return rules_from(acl, self.settings["max_rules"])


def _filters(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise BackEndError("%s is not a list of filters" % name)
    return value


def _filled_in(values: Any) -> Any:
    """A rule with %u and %c in place of the token's marks."""
    if isinstance(values, dict) and isinstance(values.get("topic"), str):
        topic = values["topic"].replace("${username}", "%u").replace("${clientid}", "%c")
        return {**values, "topic": topic}
    return values
