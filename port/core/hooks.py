"""Hooks: the eight events at which an embedding program can look in and step in.

connect(client)                       a client was accepted
disconnect(client, reason)            a connection that had been accepted ended; reason code (int)
subscribe(client, filter, options)    before a subscription is made; an int returned refuses it with that
                                      reason code
unsubscribe(client, filter)           before a subscription is taken away
process_message(client, message)      a PUBLISH came in, before anything is done with it
message(client, message)              before a message is routed to its subscribers
error(client, error)                  a client broke the protocol, or the broker failed it (an exception)
storage(client, error)                storing something failed (an exception)

`client` is the session (client_id, user, conn), None for what the program itself published.
The two message hooks may change the message, or return a Message to take its place, or False to
drop it; setting `message.clients` to a list of client ids redirects it to those alone. What a hook
raises is logged and told to the error hook; a subscription or message it was asked about is
refused or dropped then.
"""

from port.core import const
from port.core.reason import UNSPECIFIED_ERROR

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

    from port.core.message import Message
    from port.core.session import Session

EVENTS = (
    "connect",
    "disconnect",
    "subscribe",
    "unsubscribe",
    "process_message",
    "message",
    "error",
    "storage",
)


class Hooks:
    """The callbacks registered for each event, called in the order of registration.

    messages: True while one of the two message events has a callback
    """

    def __init__(self, failed: "Callable[[str, Exception], None]") -> None:
        """`failed(event, error)` is told what a callback raised."""
        self._failed = failed
        self.messages = False
        self._hooks: "dict[str, list[Callable[..., Any]]]" = {}

    def on(self, event: str, callback: "Callable[..., Any]") -> None:
        """Register a callback; ValueError for an unknown event."""
        if event not in EVENTS:
            raise ValueError("unknown event %s, there are %s" % (event, ", ".join(EVENTS)))
        self._hooks.setdefault(event, []).append(callback)
        self._note()

    def off(self, event: str, callback: "Callable[..., Any]") -> None:
        """Take a registered callback away; ValueError when it is not registered."""
        hooks = self._hooks.get(event, [])
        if callback not in hooks:
            raise ValueError("no such callback for event %s" % event)
        hooks.remove(callback)
        if not hooks:
            del self._hooks[event]
        self._note()

    def _note(self) -> None:
        self.messages = "message" in self._hooks or "process_message" in self._hooks

    def call(self, event: str, *args: "Any") -> "Any":
        """Call the event's callbacks; the first result that is not None ends the round and is returned.

        A callback that raises counts as having answered UNSPECIFIED_ERROR.
        """
        for callback in self._hooks.get(event, ()):
            try:
                result = callback(*args)
            except Exception as e:
                self._failed(event, e)
                result = UNSPECIFIED_ERROR
            if result is not None:
                return result
        return None

    def filter(self, event: str, client: "Optional[Session]", message: "Message") -> "Optional[Message]":
        """Pass a message through a message event's callbacks; None when one dropped it."""
        for callback in self._hooks.get(event, ()):
            try:
                result = callback(client, message)
            except Exception as e:
                self._failed(event, e)
                return None
            if result is False:
                return None
            if result is not None:
                message = result
            message.changed()
        return message
