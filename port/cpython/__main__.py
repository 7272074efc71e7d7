"""`python -m port.cpython`: run the broker until SIGTERM or SIGINT; SIGHUP reads the configuration again."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import resource
import signal
import sys
from collections.abc import Callable

from port.core.address import is_loopback
from port.cpython import config, passwd, show, store
from port.cpython.config import ConfigError, Program
from port.cpython.poller import EventLoop
from port.cpython.server import Server, logger
from port.cpython.sockets import AVAILABLE


def main(arguments: list[str] | None = None) -> int:
    """Run the broker; returns the exit status: 0 stopped, 1 could not start, 2 wrong configuration."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["passwd"]:
        return passwd.main(arguments[1:])
    if arguments[:1] == ["store"]:
        return store.main(arguments[1:])
    args = config.parser().parse_args(arguments)
    try:
        program = config.check(config.gather(args))
        server = _server(program)
        loop_factory = _loop_factory(program.loop)
    except ConfigError as e:
        _say(str(e))
        return 2
    if args.print_config:
        print(show.toml(program))
    if args.check_config:
        _say("the configuration is right")
    if args.print_config or args.check_config:
        return 0
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    logger.setLevel(program.log_level.upper())
    _raise_file_limit(server.options.max_connections + Server.handshakes)
    # Messages come and go by reference counting; the cycle collector need not look at each of them.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(_run(server, args, program))
    except (OSError, ValueError) as e:
        _say(getattr(e, "strerror", None) or str(e))
        return 1
    return 0


def _server(program: Program) -> Server:
    """A server with this configuration. Raises ConfigError."""
    server = Server(program.config.options, store=program.store)
    try:
        server.configure(program.config, program.authenticators)
    except (OSError, ValueError) as e:
        raise ConfigError(str(e)) from None
    return server


async def _run(server: Server, args: argparse.Namespace, program: Program) -> None:
    await server.start()
    for host, port in server.addresses:
        _say("listening on %s" % (host if not port else "%s:%d" % (host, port)))
    if not program.authenticators and server.options.anonymous in ("auto", "loopback"):
        if all(is_loopback("%s:%d" % address) for address in server.addresses):
            _say("only this machine is listened to; --host 0.0.0.0 --anonymous all lets everybody in")
        else:
            _say("only clients on this machine may connect; --anonymous all lets everybody in")
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    reloading = asyncio.Lock()
    tasks: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = loop.create_task(_reload(server, args, reloading))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    loop.add_signal_handler(signal.SIGHUP, reload)
    await stop.wait()
    await server.stop()
    _say("stopped")


async def _reload(server: Server, args: argparse.Namespace, lock: asyncio.Lock) -> None:
    """Read the configuration again and take it over whole, or not at all."""
    async with lock:
        try:
            program = config.check(config.gather(args), server.all_authenticators())
            await server.change(program.config, program.authenticators)
        except (ConfigError, OSError, ValueError) as e:
            _say("the configuration was not changed: %s" % e)
            return
        logger.setLevel(program.log_level.upper())
        _say("the configuration was read again")


def _say(text: str) -> None:
    print("ucomqtt: " + text, file=sys.stderr, flush=True)


def _loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the event loop of this name; None for asyncio's default."""
    own = EventLoop if AVAILABLE else None
    if name == "asyncio":
        return own
    try:
        import uvloop
    except ImportError:
        if name == "auto":
            return own
        raise ConfigError("loop uvloop: uvloop is not installed (pip install ucomqtt[uvloop])") from None
    return uvloop.new_event_loop


def _raise_file_limit(connections: int) -> None:
    """Ask for as many file descriptors as the connections need, as far as the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + 64
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    sys.exit(main())
