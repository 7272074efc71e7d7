"""`python -m port.cpython`: run the broker until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import signal
import sys
from collections.abc import Callable

from port.cpython.config import Config, ConfigError, load
from port.cpython.server import Server


def main(arguments: list[str] | None = None) -> int:
    """Run the broker; returns the exit status: 0 stopped, 1 could not listen, 2 wrong configuration."""
    try:
        config = load(sys.argv[1:] if arguments is None else arguments)
        loop_factory = _loop_factory(config.loop)
    except ConfigError as e:
        _say(str(e))
        return 2
    logging.basicConfig(
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(message)s",
        level=max(logging.WARNING - 10 * config.verbosity, logging.DEBUG),
    )
    _raise_file_limit(config.options().max_connections + Server.handshakes)
    # Messages come and go by reference counting; the cycle collector need not look at each of them.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(_run(config))
    except OSError as e:
        _say(e.strerror or str(e))
        return 1
    return 0


async def _run(config: Config) -> None:
    server = Server(config.options())
    server.listen(config.host, config.port)
    await server.start()
    for host, port in server.addresses:
        _say("listening on %s:%d" % (host, port))
    if server.options.anonymous == "loopback":
        _say("only clients on this machine may connect; --host 0.0.0.0 --anonymous all lets everybody in")
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
    await server.stop()
    _say("stopped")


def _say(text: str) -> None:
    print("ucomqtt: " + text, file=sys.stderr, flush=True)


def _loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the event loop of this name; None for asyncio's own."""
    if name == "asyncio":
        return None
    try:
        import uvloop
    except ImportError:
        if name == "auto":
            return None
        raise ConfigError("--loop uvloop: uvloop is not installed") from None
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
