"""The manual and the completion of shells, made of the command lines and of the tables of options.

share(folder)    writes all of them, as they are installed below PREFIX/share
"""

from __future__ import annotations

import argparse
import datetime
import inspect
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import shtab

ROOT = Path(__file__).resolve().parent.parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from port.core import __version__
from port.core.limits.options import TABLE, Options
from port.core.acl.acl_rule import rule
from port.core.config.store_config import StoreConfig
from port.cpython import stores
from port.cpython.auth import registry
from port.cpython.auth.settings import Setting
from port.cpython.cli import COMMANDS, HELP, module
from port.cpython.config import config_file, config_sources
from port.cpython.net import tls

PROGRAM = "ucomqtt"
PLACES = {
    "bash": "bash-completion/completions/ucomqtt", "zsh": "zsh/site-functions/_ucomqtt",
    "fish": "fish/vendor_completions.d/ucomqtt.fish",
}  # fmt: skip
_FILES = ("FILE", "DB")
_SIGNALS = (
    ("SIGTERM, SIGINT", "Stop: say goodbye to the clients and write what is not written yet."),
    (
        "SIGHUP",
        "Read the configuration again. Nobody is disconnected who still may be there; one with a mistake is refused as a whole.",
    ),
)
_ENVIRONMENT = (
    ("UCOMQTT_OPTION", "An option of the broker in capitals, as in UCOMQTT_MAX_QOS; it overrides the configuration file."),
    ("UCOMQTT_CONFIG", "The configuration file."), ("MQTT_USERNAME, MQTT_PASSWORD", "For pub and sub: user name and password."),
)  # fmt: skip


def share(folder: Path) -> list[str]:
    """Write all files below the folder; their names there."""
    made = {
        "man/man1/ucomqtt.1": manual(), "man/man5/ucomqtt.toml.5": configuration(),
        **{place: completion(shell) for shell, place in PLACES.items()},
    }  # fmt: skip
    for name, text in made.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return list(made)


# -- completion ---------------------------------------------------------------------------------------


def completion(shell: str) -> str:
    """The completion of a shell: bash, zsh or fish."""
    found: str = shtab.complete(whole(), shell)
    return found


def whole() -> argparse.ArgumentParser:
    """One command line with all commands in it, whose options know what values they take."""
    names = [row.name for row in COMMANDS]
    found = argparse.ArgumentParser(prog=PROGRAM, parents=[config_file.parser()], add_help=False)
    commands = found.add_subparsers(metavar="COMMAND")
    for row in COMMANDS:
        commands.add_parser(row.name, help=row.text, parents=[_parser(row.name)], add_help=False)
    commands.add_parser(HELP, help="explain a command").add_argument("command", choices=names, nargs="?", help="which one")
    choices = {"loop": config_file.LOOPS, "log_level": config_sources.LEVELS, **{row[0]: _choices(row[2], row[3]) for row in TABLE}}
    for parser in [found, *_below(found)]:
        for action in parser._actions:
            if action.dest in choices and parser is found and choices[action.dest]:
                action.choices = choices[action.dest]
            if action.metavar in _FILES:
                setattr(action, "complete", shtab.FILE)
            elif action.metavar == "FOLDER":
                setattr(action, "complete", shtab.DIRECTORY)
            if action.help:
                action.help = action.help.partition(";")[0].partition(" (")[0]
    return found


def _choices(default: object, least: object) -> tuple[str, ...] | None:
    if isinstance(default, bool):
        return "true", "false"
    return least if isinstance(least, tuple) else None


def _parser(name: str) -> argparse.ArgumentParser:
    found = module(name)
    assert found is not None  # nosec B101 # it is in the table
    parser: argparse.ArgumentParser = found.parser()
    return parser


def _below(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield inner
                yield from _below(inner)


# -- manual ---------------------------------------------------------------------------------------------


def text(words: str) -> str:
    """Words as roff has them."""
    words = words.replace("\\", "\\e").replace("-", "\\-")
    words = re.sub(r"`([^`]*)`", r"\\fB\1\\fR", words)
    return re.sub(r"^([.'])", r"\\&\1", words, flags=re.MULTILINE)


def head(name: str, section: int, what: str) -> list[str]:
    """The beginning of a page."""
    stamp = int(os.environ.get("SOURCE_DATE_EPOCH", datetime.datetime.now().timestamp()))
    date = datetime.datetime.fromtimestamp(stamp, datetime.timezone.utc).date()
    return [
        '.TH %s %d %s "ucomqtt %s" ucomqtt' % (name, section, date, __version__),
        ".SH NAME",
        "%s \\- %s" % (name, text(what)),
    ]


def tagged(tag: str, words: str) -> list[str]:
    """A paragraph with a tag."""
    return [".TP", tag, text(words)]


def manual() -> str:
    """ucomqtt.1"""
    parser = config_file.parser()
    lines = head(PROGRAM, 1, "an MQTT 3.1, 3.1.1 and 5.0 broker, and its tools")
    lines += [".SH SYNOPSIS", ".B ucomqtt", ".RI [ options ]", ".br", ".B ucomqtt", ".I command", ".RI [ arguments ]"]
    lines += [".SH DESCRIPTION", text("Without a command the broker runs until SIGTERM or SIGINT.")]
    lines += [text("By default it listens on this machine only, and clients need no password.")]
    lines += [text("What a configuration file can hold stands in") + "\n.BR ucomqtt.toml (5)."]
    lines += [".SH COMMANDS"]
    for row in COMMANDS:
        lines += tagged("\\fB%s\\fR" % text(row.name), row.text[0].upper() + row.text[1:] + ".")
    lines += tagged("\\fB%s\\fR \\fIcommand\\fR" % HELP, "Explain a command.")
    lines += [".SH OPTIONS", *options(parser)]
    for row in COMMANDS:
        inner = _parser(row.name)
        lines += [".SH %s" % text("COMMAND %s" % row.name).upper().replace("COMMAND ", "UCOMQTT "), *described(inner)]
    lines += [".SH SIGNALS", *(line for pair in _SIGNALS for line in tagged("\\fB%s\\fR" % pair[0], pair[1]))]
    lines += [".SH ENVIRONMENT", *(line for pair in _ENVIRONMENT for line in tagged("\\fB%s\\fR" % pair[0], pair[1]))]
    lines += [".SH EXIT STATUS", text("Of the broker: 0 it was stopped, 1 it could not start, 2 the configuration is wrong.")]
    lines += [
        ".SH FILES",
        *tagged("\\fI/etc/ucomqtt/ucomqtt.toml\\fR", "The configuration that the systemd unit starts the broker with."),
    ]
    lines += [".SH SEE ALSO", ".BR ucomqtt.toml (5)"]
    return page(lines)


def page(lines: list[str]) -> str:
    """A page of these lines; a paragraph need not begin where a section does."""
    return re.sub(r"^(\.S[HS] .*\n)\.PP\n", r"\1", "\n".join(lines) + "\n", flags=re.MULTILINE)


def described(parser: argparse.ArgumentParser) -> list[str]:
    """A command: usage, description, options, commands of its own."""
    usage = parser.format_usage().removeprefix("usage: ").split()
    lines = [".PP", "\\fB%s\\fR" % text(" ".join(usage)), ".PP", text(" ".join((parser.description or "").split()))]
    lines += options(parser)
    if parser.epilog:
        lines += [".PP", text(" ".join(parser.epilog.split()))]
    return lines


def options(parser: argparse.ArgumentParser) -> list[str]:
    """The options of a command line, group by group."""
    lines: list[str] = []
    for group in parser._action_groups:
        shown = [action for action in group._group_actions if action.help is not argparse.SUPPRESS]
        if not shown:
            continue
        if group.title not in ("positional arguments", "options"):
            lines += [".SS " + text(group.title or "")]
        for action in shown:
            if isinstance(action, argparse._SubParsersAction):
                for pseudo in action._choices_actions:
                    inner = action.choices[pseudo.dest]
                    lines += tagged("\\fB%s\\fR %s" % (text(pseudo.dest), _arguments(inner)), _sentence(pseudo.help or ""))
                continue
            lines += tagged(_tag(action), _help(action))
    return lines


def _arguments(parser: argparse.ArgumentParser) -> str:
    words = parser.format_usage().split()
    return "\\fI%s\\fR" % text(" ".join(words[words.index("[-h]") + 1 :])) if "[-h]" in words else ""


def _tag(action: argparse.Action) -> str:
    value = action.metavar or ("{%s}" % ",".join(map(str, action.choices)) if action.choices else action.dest)
    value = " ".join(value) if isinstance(value, tuple) else value
    if not action.option_strings:
        return "\\fI%s\\fR" % text(value.upper())
    names = ", ".join("\\fB%s\\fR" % text(name) for name in action.option_strings)
    return (
        names
        if action.nargs == 0
        else "%s \\fI%s\\fR" % (names, text(value if action.metavar or action.choices else value.upper()))
    )


def _help(action: argparse.Action) -> str:
    return _sentence((action.help or "") % {**vars(action), "prog": PROGRAM})


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:] + ("" if words.endswith(".") else ".")


def configuration() -> str:
    """ucomqtt.toml.5"""
    lines = head("ucomqtt.toml", 5, "configuration of the MQTT broker ucomqtt")
    lines += [".SH DESCRIPTION"]
    lines += [text("A TOML file, named by the option --config or the variable UCOMQTT_CONFIG.")]
    lines += [text("Files it names are looked for beside it. SIGHUP has the broker read it again.")]
    lines += [text("`ucomqtt check FILE` says whether it is right, `ucomqtt --config FILE --print-config` what is in effect.")]
    lines += [".SH EXAMPLE", ".nf", ".RS", *_EXAMPLE, ".RE", ".fi"]
    lines += [".SH TOP LEVEL"]
    lines += tagged(
        "\\fBhost\\fR, \\fBport\\fR", "A listener for MQTT over TCP (default 127.0.0.1, 1883, unless there is a [[listener]])."
    )
    lines += tagged("\\fBlog_level\\fR", "One of %s (default warning)." % ", ".join(config_sources.LEVELS))
    lines += tagged(
        "\\fBloop\\fR", "Event loop: one of %s (default auto: uvloop when it is installed)." % ", ".join(config_file.LOOPS)
    )
    lines += tagged(
        "\\fBinclude_dir\\fR",
        "Folder with more files of the configuration, *.toml: lists of tables are appended to, other keys may be set once.",
    )
    lines += tagged("\\fBacl_file\\fR", "Rules from an ACL file of mosquitto, after those of [[acl]].")
    lines += [".SS Options of the broker", text("Most of them may stand in a [[listener]] and in [[client_limits]], too.")]
    described_options = config_file.descriptions(Options)
    for row in TABLE:
        lines += tagged("\\fB%s\\fR" % row[0], _sentence("%s (%s)" % (described_options[row[0]], config_file.hint(row))))
    lines += [".SH [[LISTENER]]", text("A way in."), *_texts(config_file.listener_texts())]
    lines += [".SS Table tls of a listener", *_documented(tls.server_context)]
    lines += [
        ".SH [[AUTH]]",
        text("Who may connect; they are asked in their order, each may allow, deny, or leave it to the next."),
    ]
    lines += tagged("\\fBname\\fR", "Name, for `auth` of a listener (default: its type).")
    lines += tagged("\\fBtype\\fR", "One of %s." % ", ".join(registry.TYPES))
    for kind in registry.TYPES:
        settings = registry.settings(kind)
        lines += [".SS Type %s" % kind] if settings else []
        for setting in settings:
            lines += tagged("\\fB%s\\fR" % setting.name, _setting(setting))
    lines += [
        ".SH [[ACL]]",
        text("Who may do what; the first rule that fits decides, and what none allows is denied."),
        *_documented(rule),
    ]
    lines += [".SH [[CLIENT_LIMITS]]", text("Options for single clients: `user` and `client_id` say whose, either may end in *.")]
    lines += [".SH [STORE]", text("What outlives the broker; a change of it takes a restart."), *_documented(StoreConfig)]
    for kind in stores.TYPES[1:]:
        lines += [".SS Type %s" % kind]
        for setting in stores.settings(kind):
            lines += tagged("\\fB%s\\fR" % setting.name, _setting(setting))
    lines += [".SH SEE ALSO", ".BR ucomqtt (1)"]
    return page(lines)


_EXAMPLE = """\
[[auth]]
type = "password_file"
file = "users.txt"

[[listener]]
host = "0.0.0.0"

[[listener]]
host = "0.0.0.0"
tls = { certificate = "server.pem", key = "server.key" }

[[acl]]
topic = "home/%u/#"

[store]
type = "sqlite"
file = "/var/lib/ucomqtt/broker.db"
""".splitlines()


def _documented(what: Any) -> list[str]:
    """The keys that the docstring of a class or function explains, `KEY: text` or in columns."""
    found = config_file.descriptions(what)
    return _texts(found) if found else _verbatim(what.__doc__ or "")


def _texts(found: dict[str, str]) -> list[str]:
    """Keys and what they mean."""
    return [line for key, words in found.items() for line in tagged("\\fB%s\\fR" % key, _sentence(words))]


def _setting(setting: Setting) -> str:
    """What a setting of a back end means, with unit and default."""
    words = setting.text[:1].upper() + setting.text[1:] + (", one of " + ", ".join(setting.choices) if setting.choices else "")
    if setting.required:
        return words + " (needed)."
    default = ", ".join(setting.default) if isinstance(setting.default, tuple) else setting.default
    default = str(default).lower() if isinstance(default, bool) else default
    return "%s (default %s)." % (words, '""' if default == "" else "%s %s" % (default, setting.unit) if setting.unit else default)


def _verbatim(doc: str) -> list[str]:
    """The table of a docstring as it stands, and its other paragraphs."""
    lines: list[str] = []
    for paragraph in inspect.cleandoc(doc).split("\n\n")[1:]:
        rows = paragraph.split("\n")
        if any(re.match(r"\w+ {2,}\w", row) for row in rows):
            lines += [".PP", ".nf", *map(text, rows), ".fi"]
        else:
            lines += [".PP", *map(text, rows)]
    return lines
