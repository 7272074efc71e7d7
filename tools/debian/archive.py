"""Debian's archive, through apt with a package state of its own: nothing of the system's is read or changed."""

import os
import platform
import shutil
import subprocess  # nosec B404 # programs are started from lists of arguments
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

RELEASE = "trixie"
# Where the index of RELEASE does not fit its signature, as while a mirror is brought up to date.
FALLBACKS = ("forky", "sid")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

APT_CONFIGURATION = """\
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "{folder}/state";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
"""


class Unavailable(Exception):
    """Why something is not to be had."""


class Archive:
    """RELEASE, or the first of FALLBACKS, for one architecture. Raises Unavailable when something cannot be had."""

    def __init__(
        self, folder: Path, architecture: str, sources: bool = False, releases: Sequence[str] = (RELEASE, *FALLBACKS)
    ) -> None:
        """`folder` is for apt's state and must not exist yet; `sources` are fetched only if wanted."""
        for program in ("apt-get", "dpkg"):
            if not shutil.which(program):
                raise Unavailable(f"{program} is missing, this is no Debian")
        source = mirror()
        self._folder = folder
        self._environment = dict(os.environ, APT_CONFIG=str(folder / "apt.conf"))
        failure = None
        for release in releases:
            shutil.rmtree(folder, ignore_errors=True)
            for part in ("state/lists/partial", "cache/archives/partial"):
                (folder / part).mkdir(parents=True)
            (folder / "status").touch()
            (folder / "sources.list").write_text("".join(
                f"{kind} [arch={architecture} signed-by={KEYRING}] {source} {release} main\n"
                for kind in ("deb", "deb-src")[:1 + sources]))
            (folder / "apt.conf").write_text(APT_CONFIGURATION.format(folder=folder, architecture=architecture))
            try:
                self._apt("update")
                return
            except Unavailable as error:
                failure = failure or error
                print(f"{release} is not to be had now:\n{error}", file=sys.stderr)
        raise failure or Unavailable("no release")

    def names(self) -> set[str]:
        """The packages there are."""
        return set(run("apt-cache", "pkgnames", env=self._environment).split())

    def unpack(self, target: Path, *packages: str) -> None:
        """Put the contents of packages, and of all that they depend on, into a folder."""
        self._apt("install", "-y", "--no-install-recommends", "--download-only", *packages)
        target.mkdir(parents=True, exist_ok=True)
        for package in (self._folder / "cache" / "archives").glob("*.deb"):
            run("dpkg", "-x", str(package), str(target))

    def unpack_alone(self, target: Path, *packages: str) -> None:
        """Put the contents of packages into a folder, without what they depend on."""
        work = self._folder / "alone"
        work.mkdir()
        self._apt("download", *packages, cwd=work)
        target.mkdir(parents=True, exist_ok=True)
        for package in work.glob("*.deb"):
            run("dpkg", "-x", str(package), str(target))

    def unpack_source(self, target: Path, package: str) -> None:
        """Put the source of a package, with Debian's patches, into a folder that does not exist yet."""
        if not shutil.which("dpkg-source"):
            raise Unavailable("dpkg-source is missing: install dpkg-dev")
        work = self._folder / package
        work.mkdir()
        self._apt("source", "--download-only", package, cwd=work)
        description, = work.glob("*.dsc")
        run("dpkg-source", "--no-check", "-x", str(description), str(target), cwd=work)

    def _apt(self, *arguments: str, cwd: Path | None = None) -> None:
        run("apt-get", "-qq", *arguments, env=self._environment, cwd=cwd)


def fetch_sources(parent: Path, fill: Callable[[Archive, Path], None]) -> Path:
    """The folder in `parent` that `fill(archive, folder)` fills with Debian's sources, once.

    What was built beside it, in build*, goes when it is filled anew. Raises Unavailable.
    """
    folder = parent / ("sources-" + RELEASE)
    if not folder.exists():
        for build in parent.glob("build*"):
            shutil.rmtree(build, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=parent, prefix="apt-") as name:
            work = Path(name)
            (work / "sources").mkdir()
            fill(Archive(work / "apt", "amd64", sources=True), work / "sources")
            (work / "sources").rename(folder)
    return folder


def mirror() -> str:
    """The address of Debian's main archive, as this machine has it. Raises Unavailable."""
    for address in _mirrors():
        return address
    raise Unavailable("no Debian mirror in the sources of apt")


def _mirrors() -> Iterator[str]:
    """Yield the addresses of Debian's main archive in apt's own sources."""
    sources = Path("/etc/apt")
    for path in sorted(sources.glob("sources.list.d/*.sources")):
        for stanza in path.read_text().split("\n\n"):
            yield from _mirrors_of_stanza(stanza)
    for path in (sources / "sources.list", *sorted(sources.glob("sources.list.d/*.list"))):
        if path.exists():
            for line in path.read_text().splitlines():
                yield from _mirrors_of_line(line)


def _mirrors_of_stanza(stanza: str) -> Iterator[str]:
    """Read a stanza of a .sources file: `Field: value`, a further line begins with a space."""
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line.startswith("#"):
            continue
        if line[:1].isspace():
            fields[name] += " " + line.strip()
        elif ":" in line:
            name, _, value = line.partition(":")
            name = name.lower()
            fields[name] = value.strip()
    if fields.get("enabled", "yes").lower() == "no":
        return
    if "deb" in fields.get("types", "").split() and "main" in fields.get("components", "").split():
        for address in fields.get("uris", "").split():
            if _is_main_archive(address, fields.get("suites", "").split()):
                yield address


def _mirrors_of_line(line: str) -> Iterator[str]:
    """Read a line of a sources.list: deb [options] address suite components."""
    before, bracket, after = line.partition("[")
    words = (before + after.partition("]")[2] if bracket else line).split()
    if len(words) > 3 and words[0] == "deb" and "main" in words[3:]:
        if _is_main_archive(words[1], [words[2]]):
            yield words[1]


def _is_main_archive(address: str, suites: list[str]) -> bool:
    """True for an archive that carries Debian's own release, not its security fixes alone."""
    release = platform.freedesktop_os_release()
    known = {release.get("VERSION_CODENAME", ""), "stable", "testing", "unstable", "sid", RELEASE}
    return (release.get("ID") == "debian" and bool(known & set(suites))
            and "security" not in address)


def run(*command: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    """What a command prints; raises Unavailable when it fails."""
    try:
        done = subprocess.run(command, env=env, cwd=cwd, stdin=subprocess.DEVNULL,  # nosec B603 # no shell
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except OSError as error:
        raise Unavailable(str(error)) from None
    if done.returncode:
        raise Unavailable(f"{' '.join(command)} failed:\n{done.stdout}")
    return done.stdout
