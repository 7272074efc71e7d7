"""`python -m port.cpython`: run the broker until SIGTERM or SIGINT; SIGHUP reads the configuration again.

Its commands are in port.cpython.cli.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Callable

from port.cpython import cli  # commands first: it looks at Python's version
from port.cpython.config import config_file  # commands first: it looks at Python's version
from port.cpython.config import preflight  # commands first: it looks at Python's version
from port.cpython.config import print_config  # commands first: it looks at Python's version
from port.cpython.config.config_file import Program
from port.cpython.config.config_sources import ConfigError
from port.cpython.extras import install
from port.cpython.monitor.log_writer import BackgroundLog
from port.cpython.net import file_descriptors  # commands first: it looks at Python's version
from port.cpython.net.epoll import AVAILABLE
from port.cpython.net.event_loop import EventLoop
from port.cpython.server import Server, logger


def main(arguments: list[str] | None = None) -> int:
    """Run the broker or a command; the broker's exit status: 0 stopped, 1 could not start, 2 wrong configuration."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and not arguments[0].startswith("-"):
        return cli.run(arguments)
    given = arguments
    return cli.guarded(lambda: _main(given))


def _main(arguments: list[str]) -> int:
    args = config_file.parser().parse_args(arguments)
    try:
        program = config_file.check(config_file.gather(args))
        server = _server(program)
        if args.check_config:
            preflight.check(program.config, program.store)
        loop_factory = _loop_factory(program.loop)
    except preflight.CannotStart as e:
        for error in e.args:
            _say(str(program.gathered.error(error)))
        return 2
    except ConfigError as e:
        _say(str(e))
        return 2
    if args.print_config:
        print(print_config.toml(program))
    if args.check_config:
        for note in program.gathered.notes():
            _say("note: " + note)
        _say("the configuration is right")
    if args.print_config or args.check_config:
        return 0
    server.set_log_level(program.log_level)
    file_descriptors.raise_limit(server.options.max_connections + 4 * Server.PLACES)
    # Messages come and go by reference counting; the cycle collector need not look at each of them.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    with BackgroundLog(form=program.log_format) as log:
        for note in program.gathered.notes():
            log.say(note, logging.WARNING)
        try:
            with asyncio.Runner(loop_factory=loop_factory) as runner:
                runner.run(_run(server, args, program, log))
        except (OSError, ValueError) as e:
            text = getattr(e, "strerror", None) or str(e)
            file = getattr(e, "filename", None)
            log.say(f"{file}: {text}" if file else text, logging.ERROR)
            return 1
    return 0


def _server(program: Program) -> Server:
    """A server with this configuration. Raises ConfigError."""
    server = Server(program.config.options, store=program.store)
    try:
        server.configure(program.config, program.authenticators)
    except (OSError, ValueError) as e:
        raise program.gathered.error(str(e)) from None
    return server


async def _run(server: Server, args: argparse.Namespace, program: Program, log: BackgroundLog) -> None:
    await server.start()
    say = log.say
    if not logger.isEnabledFor(logging.INFO):  # else the server's own log has it
        for line in server.described():
            say(line)
    if not program.authenticators and server.options.anonymous in ("auto", "loopback"):
        if not any(listener.kind.remote(listener) for listener in program.config.listeners):
            say("listening on this machine only; --host 0.0.0.0 --anonymous all opens the broker to the network")
        else:
            say("only clients on this machine may connect; --anonymous all lets every client in")
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    reloading = asyncio.Lock()
    tasks: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = loop.create_task(_reload(server, args, reloading, log))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    loop.add_signal_handler(signal.SIGHUP, reload)
    await stop.wait()
    await server.stop()
    if not logger.isEnabledFor(logging.INFO):
        say("stopped")


async def _reload(server: Server, args: argparse.Namespace, lock: asyncio.Lock, log: BackgroundLog) -> None:
    """Read the configuration again and take it over whole, or not at all."""
    async with lock:
        try:
            program = config_file.check(config_file.gather(args), server.all_authenticators())
            await server.change(program.config, program.authenticators)
        except (ConfigError, OSError, ValueError) as e:
            log.say("the configuration was not changed: %s" % e, logging.ERROR)
            return
        except Exception as e:  # of foreign code, or a defect: the broker goes on
            server.log(3, "the configuration was not changed: %r", e)
            return
        server.set_log_level(program.log_level)
        log.write_as(program.log_format)
        log.say("the configuration was read again")


def _say(text: str) -> None:
    """Say why the program ends before there is a log."""
    cli.fail(text)


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
        raise ConfigError("loop uvloop: uvloop is not installed: " + install("uvloop")) from None
    return uvloop.new_event_loop


if __name__ == "__main__":
    sys.exit(main())
