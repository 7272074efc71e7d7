"""Numbers that several modules share. On boards the build puts them where their names are: a name takes no memory."""

from port.core import const

# Connection.state: none of its packets came yet; an authenticator thinks or talks to the client; a session is attached; over.
NEW = const(0)
AUTHENTICATING = const(1)
OPEN = const(2)
CLOSED = const(3)

# Connection.held: why nothing of a client's is handled for a while, bits.
ASKING = const(1)  # an authenticator or authorizer is thinking
RATE = const(2)  # it has sent too fast
STORING = const(4)  # it sends faster than the store writes
TURN = const(8)  # its turn is over, see Turns.limit
CROWDED = const(16)  # it has filled a receiver's queue, see port.core.protocol.backpressure
FULL = const(32)  # its own queue is full, and it is to end for that

# What a client asks to do with a topic, bits: the actions of rules and authorizers.
MAY_PUBLISH = const(1)
MAY_SUBSCRIBE = const(2)
MAY_RECEIVE = const(4)

# The verdict on it: one of these, or the highest QoS with MAY_RETAIN where retained messages may be published.
DENIED = const(-1)
UNDECIDED = const(-2)  # an authorizer has to be asked
MAY_RETAIN = const(4)
ALLOWED = const(6)  # QoS 2, retained

# Options of a subscription (clause 3.8.3.1), bits.
QOS = const(3)
NO_LOCAL = const(4)
RETAIN_AS_PUBLISHED = const(8)
