"""What the tests of rights share: worlds with rules, users with passwords, an authorizer that takes its time."""

from harness import World
from port.core.constants import MAY_PUBLISH, MAY_SUBSCRIBE
from port.core.wire.reason_codes import BAD_USER_NAME_OR_PASSWORD, SUCCESS
from port.core.auth.allow_deny import AllowAll
from port.core.auth.authenticator import Authenticator
from port.core.acl.acl_rule import rule

ALL = {"topic": "#"}


def rules(*tables):
    """Rules from their configuration."""
    return [rule(table) for table in tables]


def world_with(*tables, **options):
    """A world whose clients get the user name they say, and these rules."""
    world = World(**options)
    world.broker.authenticators.append(AllowAll())
    if tables:
        world.broker.set_acl(rules(*tables))
    return world


def change(world, *tables):
    """Other rules in a running world, or none at all."""
    world.broker.set_acl(rules(*tables) if tables else None)
    world.broker.rights_changed()


def will(topic, payload=b"gone", qos=0, retain=False, properties=None):
    """The will of a CONNECT."""
    return {"topic": topic, "payload": payload, "qos": qos, "retain": retain, "properties": properties or {}}


def topics(client):
    """The topics of the messages that have come, acknowledged."""
    return [str(packet["topic"], "utf-8") for packet in client.messages()]


class Users(Authenticator):
    """Knows some users by their passwords, leaves the others to the next; those taken out may not stay."""

    def __init__(self, **users):
        self.users = users

    def authenticate(self, client, user, password):
        name = str(user or b"", "utf-8")
        if name not in self.users:
            return None
        return SUCCESS if password == self.users[name].encode() else BAD_USER_NAME_OR_PASSWORD

    def valid(self, client):
        return self.knows(client.user)

    def knows(self, user):
        return str(user or b"", "utf-8") in self.users


class Asked(Authenticator):
    """Lets everybody in and is asked for each right; `asked` are the open questions (client, action, topic)."""

    def __init__(self, *own):
        self.asked = []
        self.own = own

    def authenticate(self, client, user, password):
        client.authorizer = self
        if self.own:
            client.rules = list(self.own)
        return SUCCESS

    def ask(self, client, action, topic):
        assert action in (MAY_PUBLISH, MAY_SUBSCRIBE)
        self.asked.append((client, action, topic))

    def answer(self, verdict, ttl=60000):
        """Answer the oldest question; returns (action, topic)."""
        client, action, topic = self.asked.pop(0)
        client.authorized(action, topic, verdict, ttl)
        return action, topic


def world_asking(*own, **options):
    """(world, its authorizer); `own` are rules every client has."""
    world = World(**options)
    authorizer = Asked(*rules(*own))
    world.broker.authenticators.append(authorizer)
    return world, authorizer
