"""An HTTP service that decides about CONNECT and, if configured, about publishing and subscribing.

Both requests are POST, with a form or a JSON object:

    user_url    user, password, client_id, address, listener
    acl_url     user, client_id, address, listener, action (publish or subscribe), topic

Answers to both: 401 and 403 refuse; 404 means an unknown client, which is left to the next authenticator
(acl_url: refused); 204 and an empty 200 allow; the body of another 200 has the answer:

    {"result": "allow"}      or "deny", or "ignore", the same as 404; for user_url it may also hold "user": another
                             user name, "acl": a list of rules as in the configuration, "expire_at": seconds since
                             1970 when the client is disconnected
    1                        for user_url: allowed; 0: refused. For acl_url as in CoMQTT 1: 1 publish, 2 subscribe,
                             3 both, 0 neither; or as in CoMQTT 2: {"FILTER": ACCESS, ...} with 1 subscribe, 2 publish

Both are asked again about connected clients, see `refresh`: a client that is refused then, or has lost the right to one of its
subscriptions, is disconnected.

Any other answer is a fault, also true and false. Redirects are faults, so that passwords go to the configured URL only.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.parse import urlencode, urlsplit

from port.core.constants import ALLOWED, DENIED, MAY_PUBLISH, MAY_SUBSCRIBE, UNDECIDED
from port.core.wire.reason_codes import SUCCESS
from port.core.wire.topics import is_shared, without_share
from port.core.limits.ip_address import is_loopback
from port.core.auth.authenticator import Identity
from port.core.acl.acl import Acl
from port.cpython.auth.base import (
    CACHING,
    NEXT,
    REFUSED,
    WAITING,
    AsyncAuthenticator,
    BackEndError,
    ClientInfo,
    Verdict,
    is_user_name,
)
from port.cpython.auth.cache import Cache
from port.cpython.auth.renewals import Job
from port.cpython.auth.rights import longest_first, rules_from, rules_of
from port.cpython.auth.settings import Setting, client_context, library, secret
from port.cpython.auth.slots import Ticket

_ACTIONS = {1: "publish", 2: "subscribe"}
_ALLOW, _DENY, _IGNORE = "allow", "deny", "ignore"
_DENIED_FOR = 1.0  # s until the service is asked again about a topic after a fault
_WORDS: dict[Any, str] = {"allow": _ALLOW, "deny": _DENY, "ignore": _IGNORE}


@dataclass(frozen=True, slots=True)
class _Said:
    """State of a connected client: the data of its CONNECT, None unless it is asked about again; and `acl` of the answer."""

    info: ClientInfo | None
    acl: Any


class HttpAuthenticator(AsyncAuthenticator):
    """Asks a web service; needs the extra `http`."""

    SETTINGS = (
        Setting("user_url", "", "asked when a client connects", required=True),
        Setting("acl_url", "", "asked about topics for which there is no rule; empty: the rules decide alone"),
        Setting("format", "json", "how requests are written", choices=("json", "form")),
        Setting("anonymous", False, "whether the service is asked about clients without a user name, too"),
        Setting("token", "", "sent as `Authorization: Bearer`", secret=True),
        Setting("token_file", "", "file whose first line is that token"),
        Setting("tls_verify", True, "whether the certificate of an https service must be right"),
        Setting("ca_file", "", "certificate authorities to trust; empty: those of the system"),
        Setting("max_answer", 65536, "size of an answer", "bytes", 64, 16777216),
        Setting("max_rules", 1000, "rules in one answer", "", 1, 1000000),
        Setting("cache_ttl", 60.0, "how long an answer of acl_url holds", "s", 0, 86400),
        Setting("refresh", 300.0, "how often both are asked again about each connected client and its subscriptions, one question "
                "after the other; its password is kept in memory for that; 0: never", "s", 0, 86400),
        *WAITING,
        *CACHING,
    )  # fmt: skip

    def prepare(self) -> None:
        """See AsyncAuthenticator.prepare."""
        values = self.settings
        for name in ("user_url", "acl_url"):
            if values[name]:
                _check_url(name, values[name])
        self._token = secret(values, "token")
        self._secrets.append(self._token)
        self._context = client_context(values["ca_file"], values["tls_verify"])
        self._httpx = library("httpx", "http")
        self._client: Any = None
        self._rights: Cache[int] = Cache(values["cache_size"], values["cache_ttl"], self.clock)
        self.asked = 0  # requests about topics
        if values["acl_url"]:
            self.authorizer = self

    async def connect(self) -> None:
        """See AsyncAuthenticator.connect."""
        values = self.settings
        count = self.connections
        self._client = self._httpx.AsyncClient(
            verify=self._context,
            timeout=values["timeout"],
            limits=self._httpx.Limits(max_connections=count, max_keepalive_connections=count),
            # A compressed body could exceed max_answer when it is unpacked.
            headers={"Accept-Encoding": "identity", **({"Authorization": "Bearer " + self._token} if self._token else {})},
            # A cookie of one client's request would go with the requests of others.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            follow_redirects=False,
            trust_env=False,  # no proxy of an environment variable sees passwords
        )
        for name in ("user_url", "acl_url"):
            url = urlsplit(values[name])
            if url.scheme == "http" and url.hostname != "localhost" and not is_loopback("%s:0" % url.hostname):
                self.report("%s is not https: passwords can be read on the way" % name)
            elif url.scheme == "https" and not values["tls_verify"]:
                self.report("tls_verify is off: anybody could pass himself off as the service")

    async def disconnect(self) -> None:
        """See AsyncAuthenticator.disconnect."""
        self._rights.clear()
        await self._client.aclose()

    # -- CONNECT --------------------------------------------------------------------------------

    def concerns(self, info: ClientInfo) -> bool:
        """See AsyncAuthenticator.concerns."""
        return info.user is not None or bool(self.settings["anonymous"])

    async def check(self, info: ClientInfo) -> Verdict:
        """See AsyncAuthenticator.check."""
        password: bytes | str | None = info.password
        if password is not None and self.settings["format"] == "json":
            try:
                password = password.decode()  # type: ignore[union-attr]
            except UnicodeDecodeError:
                return REFUSED  # JSON cannot hold it, so it is no valid password
        result = await self._post(self.settings["user_url"], {**_fields(info), "password": password})
        if not isinstance(result, dict):
            result = {"result": {1: _ALLOW, 0: _DENY}.get(result) if _is_number(result) else result}
        # One code for all refusals, as services answer differently about unknown users.
        verdict = {_ALLOW: Verdict(), _DENY: REFUSED, _IGNORE: NEXT}.get(_word(result.get("result")) or "")
        if verdict is None:
            raise BackEndError("the answer of user_url says neither allow, deny nor ignore")
        if verdict.code == 0:
            verdict = self._admission(result, info)
        return verdict

    def _admission(self, result: Mapping[str, Any], info: ClientInfo) -> Verdict:
        user, acl, expires = result.get("user"), result.get("acl"), result.get("expire_at")
        if user is not None and not is_user_name(user):
            raise BackEndError("user in the answer of user_url is no user name")
        number = isinstance(expires, (int, float)) and not isinstance(expires, bool) and expires == expires  # not NaN
        if expires is not None and not number:
            raise BackEndError("expire_at in the answer of user_url is not a number")
        rules = None if acl is None else rules_from(acl, self.settings["max_rules"])
        return Verdict(user=user, rules=rules, expires_at=expires, state=_Said(info if self.settings["refresh"] else None, acl))

    # -- clients that are in ------------------------------------------------------------------------

    async def renewals(self) -> AsyncIterator[tuple[Hashable, Job]]:
        """See AsyncAuthenticator.renewals."""
        async for client in self.admitted(_Said):
            yield client, self._renew(client)

    async def _renew(self, client: Identity) -> Job:
        """Ask about the client again, then about each of its subscriptions."""
        said: _Said = client.auth_state
        info = said.info
        if info is None or client.gone:
            return
        verdict = await self.ask_within(lambda: self.check(info))
        session = client.conn.session
        if session is None or client.gone:
            return
        user = info.user if verdict.user is None else verdict.user
        if verdict.code != SUCCESS or client.user != (None if user is None else user.encode()):
            self.expel(client)
            return
        before = said.acl
        self.accept(client, verdict)
        if client.auth_state.acl != before:
            client.broker.set_rules(session, verdict.rules)
        yield
        for topic_filter in list(session.subscriptions) if self.authorizer is not None else ():
            if client.gone or session.access is None:
                return
            topic = without_share(topic_filter)
            # Unless a rule or a cached answer decides.
            if session.access.subscribe(topic, client.broker.clock()) != UNDECIDED or topic_filter not in session.subscriptions:
                continue
            asked = ClientInfo.of(client, client.user, None)
            found = await self.ask_within(partial(self._ask_service, asked, MAY_SUBSCRIBE, topic))
            self._rights.put(self._key(asked, MAY_SUBSCRIBE, topic), found)
            if found == DENIED and not client.gone and topic_filter in session.subscriptions:
                client.broker.session_registry.unsubscribe(session, topic_filter)
                session.access.purge(session, () if is_shared(topic_filter) else (topic_filter,))
                self.expel(client)
            yield

    # -- topics -----------------------------------------------------------------------------------

    def ask(self, client: Identity, action: int, topic: bytes) -> None:
        """The authorizer's part: see port.core.auth.authenticator.Identity.authorizer."""
        info = ClientInfo.of(client, client.user, None)
        key = self._key(info, action, topic)
        verdict = self._rights.get(key)
        loop = asyncio.get_running_loop()
        if verdict is not None:
            self.cache_hits += 1
            loop.call_soon(client.authorized, action, topic, verdict, int(self._rights.left(key) * 1000))
        elif not self.request(client, lambda ticket: self._authorize(client, info, action, topic, key, ticket)):
            loop.call_soon(client.authorized, action, topic, DENIED, int(_DENIED_FOR * 1000))

    def _key(self, info: ClientInfo, action: int, topic: bytes) -> bytes:
        """The key of an answer about a topic."""
        user = None if info.user is None else info.user.encode()
        parts = (user, info.client_id.encode(), info.address.encode(), info.listener.encode())
        return self._rights.key(*parts, b"%d" % action, topic)

    async def _authorize(
        self, client: Identity, info: ClientInfo, action: int, topic: bytes, key: bytes, ticket: Ticket | None
    ) -> None:
        verdict, ttl = DENIED, _DENIED_FOR
        try:
            verdict = await self.ask_within(lambda: self._ask_service(info, action, topic), client, ticket)
            self._rights.put(key, verdict)
            ttl = self._rights.left(key)
        except BackEndError:
            pass  # it was reported
        finally:
            if not client.gone:
                client.authorized(action, topic, verdict, int(ttl * 1000))

    async def _ask_service(self, info: ClientInfo, action: int, topic: bytes) -> int:
        self.asked += 1
        fields = {**_fields(info), "action": _ACTIONS[action], "topic": topic.decode()}
        result = await self._post(self.settings["acl_url"], fields)
        if isinstance(result, dict) and "result" not in result:
            return _decide(result, "comqtt2", info, action, topic)
        if _is_number(result):
            return _decide({topic.decode(): result}, "comqtt1", info, action, topic)
        word = _word(result.get("result") if isinstance(result, dict) else result)
        if word is None:
            raise BackEndError("the answer of acl_url says neither allow nor deny")
        return ALLOWED if word == _ALLOW else DENIED

    def figures(self) -> list[tuple[str, int]]:
        """See Authenticator.figures."""
        return [*super().figures(), ("acl_requests", self.asked)]

    # -- HTTP ---------------------------------------------------------------------------------------

    async def _post(self, url: str, fields: Mapping[str, Any]) -> Any:
        """The service's answer: the value of the body, or the word for its status. Raises BackEndError."""
        given = {name: value for name, value in fields.items() if value is not None}
        if self.settings["format"] == "json":
            kind, body = "application/json", json.dumps(given)
        else:
            kind, body = "application/x-www-form-urlencoded", urlencode(given)
        most = self.settings["max_answer"]
        data = b""
        async with self._client.stream("POST", url, content=body, headers={"Content-Type": kind}) as response:
            status = response.status_code
            if status in (401, 403):
                return _DENY
            if status == 404:
                return _IGNORE
            if status not in (200, 204):
                raise BackEndError("the service answers with HTTP status %d" % status)
            async for chunk in response.aiter_raw():
                data += chunk
                if len(data) > most:
                    raise BackEndError("the service's answer is longer than max_answer")
        text = data.strip()
        if not text:
            return _ALLOW
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return _WORDS.get(text.decode("ascii", "replace"), "")


def _word(value: Any) -> str | None:
    return _WORDS.get(value) if isinstance(value, str) else None


def _is_number(value: Any) -> bool:
    """True for a whole number; false for JSON's true and false."""
    return isinstance(value, int) and not isinstance(value, bool)


def _fields(info: ClientInfo) -> dict[str, Any]:
    return {"user": info.user, "client_id": info.client_id, "address": info.address, "listener": info.listener}


def _check_url(name: str, text: str) -> None:
    try:
        url = urlsplit(text)
        right = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:
        right = False
    if not right:
        raise ValueError("%s must be an http or https URL" % name)
    if "@" in text.partition("?")[0]:
        raise ValueError("%s must not hold a user name or password, set token_file; an @ in the path is %%40" % name)


def _decide(rights: Mapping[str, Any], numbers: str, info: ClientInfo, action: int, topic: bytes) -> int:
    """The verdict of a list of filters and numbers as in CoMQTT."""
    rules = rules_of(longest_first(rights), numbers)
    user = None if info.user is None else info.user.encode()
    access = Acl(1).find(user, info.client_id.encode(), info.address, rules, None)
    if access is None:
        return DENIED
    return access.publish(topic, 0) if action == MAY_PUBLISH else access.subscribe(topic, 0)
