"""Hooks: eight events that an embedding program can observe and change.

connect(client)                       a client was accepted
disconnect(client, reason)            an accepted connection ended; reason code (int)
subscribe(client, filter, options)    before a subscription is made; a returned int refuses it with that
                                      reason code
unsubscribe(client, filter)           before a subscription is removed
process_message(client, message)      a PUBLISH came in, before it is handled
message(client, message)              before a message is routed to its subscribers
error(client, error)                  a client broke the protocol, or the broker failed it (an exception)
storage(client, error)                the store failed (an exception)

`client` is the session (client_id, user, conn), None for messages of the program itself. The two
message hooks may change the message, return another Message in its place, or return False to drop
it; setting `message.clients` to a list of client ids delivers it to those subscribers only. An
exception of a hook is logged and passed to the error hook; then the subscription is refused or the
message dropped that the hook was asked about.
"""

from port.core import const
from port.core.wire.reason_codes import DROP_RESERVED_TOPIC, NOT_AUTHORIZED, SUCCESS, UNSPECIFIED_ERROR, MQTTError
from port.core.messages.message import Message, as_bytes

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

    from port.core.routing.subscriptions import Route
    from port.core.sessions.session import Session
    from port.core.broker import Broker

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
    """The callbacks registered for each event, called in the order of registration."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self._hooks: "dict[str, list[Callable[..., Any]]]" = {}

    def on(self, event: str, callback: "Callable[..., Any]") -> None:
        """Register a callback; ValueError for an unknown event."""
        if event not in EVENTS:
            raise ValueError("unknown event %s, there are %s" % (event, ", ".join(EVENTS)))
        self._hooks[event] = self._hooks.get(event, []) + [callback]  # a new list, as a hook may call this
        self._note()

    def off(self, event: str, callback: "Callable[..., Any]") -> None:
        """Remove a registered callback; ValueError when it is not registered."""
        hooks = list(self._hooks.get(event, ()))
        if callback not in hooks:
            raise ValueError("no such callback for event %s" % event)
        hooks.remove(callback)
        if hooks:
            self._hooks[event] = hooks
        else:
            del self._hooks[event]
        self._note()

    def _note(self) -> None:
        self._broker.message_hooks = "message" in self._hooks or "process_message" in self._hooks

    def _failed(self, event: str, callback: "Any", error: Exception) -> None:
        """Report an exception of a hook; the error hook does not get its own, which might never end."""
        name = getattr(callback, "__name__", callback)  # subset: ok, functions have it, other objects stand for themselves
        self._broker.client_log.line(3, "broker", "%s hook %s failed: %r", event, name, error)
        if event != "error":
            self._broker.emit("error", None, error)

    def call(self, event: str, *args: "Any") -> "Any":
        """Call the event's callbacks until one returns a result other than None; returns that result.

        The result of a callback that raises is UNSPECIFIED_ERROR.
        """
        for callback in self._hooks.get(event, ()):
            try:
                result = callback(*args)
                if hasattr(result, "send"):  # a coroutine, which this code cannot await
                    raise TypeError("it is async")
            except Exception as e:
                self._failed(event, callback, e)
                result = UNSPECIFIED_ERROR
            if result is not None:
                return result
        return None

    def filter(self, event: str, client: "Optional[Session]", message: "Message") -> "Optional[Message]":
        """Pass a message through a message event's callbacks; None when one dropped it."""
        for callback in self._hooks.get(event, ()):
            name = message.name
            payload = message.payload
            properties = message.properties
            try:
                result = callback(client, message)
                if result is False:
                    return None
                if result is not None:
                    if not isinstance(result, Message):
                        raise TypeError("no Message, None or False: %r" % (result,))
                    message = result
                if (
                    result is not None
                    or message.name is not name
                    or message.payload is not payload
                    or message.properties is not properties
                ):
                    message.name = as_bytes(message.name)
                    message.payload = as_bytes(message.payload)
                    message.changed()
            except Exception as e:
                self._failed(event, callback, e)
                return None
        return message

    def accept(self, message: "Message", sender: "Session") -> "tuple[int, str]":
        """Handle a message from a client, which the message hooks may change or drop, see MessageIntake.accept."""
        broker = self._broker
        changed = self.filter("process_message", sender, message)
        if changed is None:
            return SUCCESS, ""
        try:
            route = broker.router.route(changed.name, sender.options)
        except MQTTError as e:
            if changed is message:
                raise
            self._failed("process_message", changed, e)  # not the client's fault
            return SUCCESS, ""
        if route is None:
            broker.counters.drop(DROP_RESERVED_TOPIC)
            return NOT_AUTHORIZED, "clients cannot publish to $ topics"
        name = changed.name
        generation = broker.router.generation
        changed = self.filter("message", sender, changed)
        if changed is None:
            return SUCCESS, ""
        if changed.name != name or broker.router.generation != generation:  # the hook may have changed the receivers
            route = broker.router.resolve(changed.name)
        return broker.intake.distribute(changed, route, sender)

    def redirect(self, message: "Message", route: "Route", sender: "Optional[Session]") -> None:
        """Deliver a message to those of its subscribers that a hook has chosen."""
        only = [as_bytes(client_id) for client_id in message.clients or ()]
        router = self._broker.router
        for session, option in route.plain:
            if session.client_id in only:
                router.deliver_special(message, session, (option,), sender)
        for session, options in route.special:
            if session.client_id in only:
                router.deliver_special(message, session, options, sender)
