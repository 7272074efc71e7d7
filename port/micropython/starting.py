"""What a server opens when it starts; forgotten when it has."""

from port.core import const
from port.micropython.server import done

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from port.core.auth.authenticator import Authenticator
    from port.micropython.server import Server


async def open_all(server: "Server") -> None:
    """Open authenticators and listeners, all or none; the store is open. Raises OSError or ValueError naming what cannot be."""
    authenticators = server.all_authenticators()
    try:
        await open_authenticators(server, authenticators)
        try:
            for entrance in server.entrances:
                await done(entrance.open())
        except Exception as e:
            for other in server.entrances:
                if other is not entrance:
                    await done(other.close())
            await server.close_authenticators(authenticators)
            if isinstance(e, (OSError, ValueError)):
                raise
            raise ValueError("listener %s: cannot be opened: %r" % (entrance.listener.id, e))
    except (OSError, ValueError):
        if server.store is not None:
            await done(server.store.close())
        server.poller.servers.remove(server)
        raise
    for line in server.described():
        server.log(1, "%s", line)
    if not server.entrances:
        server.log(2, "there is no listener, nobody can connect: listen() before start() adds one")


async def open_authenticators(server: "Server", authenticators: "list[Authenticator]") -> None:
    """Open them, all or none. Raises OSError or ValueError naming the one that cannot be."""
    opened: "list[Authenticator]" = []
    for authenticator in authenticators:
        try:
            await done(authenticator.open())
        except Exception as e:
            await server.close_authenticators(opened)
            text = "auth %s: cannot be opened: %r" % (authenticator.name, e)
            raise OSError(e.errno, text) if isinstance(e, OSError) else ValueError(text)
        opened.append(authenticator)
