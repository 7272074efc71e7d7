"""Numbers shared by several modules. On boards the build replaces their names by the numbers: a name takes no memory."""

from port.core import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Literal

    ENTRY_MESSAGE: Literal[0]
    ENTRY_FLAGS: Literal[1]
    ENTRY_IDENTIFIERS: Literal[2]
    ENTRY_GROUP: Literal[3]
    ENTRY_KEY: Literal[4]
    RECORD_NAME: Literal[0]
    RECORD_QOS: Literal[2]
    RECORD_PAYLOAD: Literal[1]
    RECORD_PROPERTIES: Literal[3]
    RECORD_EXPIRES: Literal[4]
    RECORD_SOURCE: Literal[5]
    RECORD_HOLDER: Literal[6]
    WILL_MESSAGE: Literal[0]
    WILL_DELAY: Literal[1]

# Connection.state: before CONNECT; an authenticator is undecided or talks to the client; a session is attached; closed.
NEW = const(0)
AUTHENTICATING = const(1)
OPEN = const(2)
CLOSED = const(3)

# Connection.held: reasons to handle none of a client's packets for a while, bits.
ASKING = const(1)  # an authenticator or authorizer is undecided
RATE = const(2)  # the client has sent too fast
STORING = const(4)  # the client sends faster than the store writes
TURN = const(8)  # its turn is over, see Turns.limit
CROWDED = const(16)  # the client has filled a receiver's queue, see port.core.protocol.backpressure
FULL = const(32)  # its own queue is full, for which it is to be disconnected

# Actions of a client on a topic, bits, in rules and for authorizers.
MAY_PUBLISH = const(1)
MAY_SUBSCRIBE = const(2)
MAY_RECEIVE = const(4)

# Verdicts on an action: one of these, or the highest QoS, with MAY_RETAIN if retained messages may be published.
DENIED = const(-1)
UNDECIDED = const(-2)  # the authorizer has to be asked
MAY_RETAIN = const(4)
ALLOWED = const(6)  # QoS 2, retained

# Options of a subscription (clause 3.8.3.1), bits.
QOS = const(3)
NO_LOCAL = const(4)
RETAIN_AS_PUBLISHED = const(8)

# Fields of an entry, a message in flight or queued for one receiver: see port.core.sessions.session.
ENTRY_MESSAGE = const(0)
ENTRY_FLAGS = const(1)
ENTRY_IDENTIFIERS = const(2)
ENTRY_GROUP = const(3)
ENTRY_KEY = const(4)

# Fields of a retained message's record: see port.core.messages.retained.
RECORD_NAME = const(0)
RECORD_PAYLOAD = const(1)
RECORD_QOS = const(2)
RECORD_PROPERTIES = const(3)
RECORD_EXPIRES = const(4)
RECORD_SOURCE = const(5)
RECORD_HOLDER = const(6)

# Fields of Session.will.
WILL_MESSAGE = const(0)
WILL_DELAY = const(1)  # s
