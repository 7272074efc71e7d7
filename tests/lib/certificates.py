"""Certificates for tests, made by tools/cert once for each kind of key and each authority.

    from certificates import certificates

    def test_it(certificates):
        ours, others = certificates(), certificates("others")
"""

import subprocess
import sys
from pathlib import Path

import pytest

from toolchain import ROOT

CLIENTS = ("alice", "bob")


class Folder:
    """What tools/cert made: `ca`, `server`, `key` and their DER forms as text, `client(name)`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ca = str(path / "ca.pem")
        self.server = str(path / "server.pem")
        self.key = str(path / "server.key")
        self.server_der = str(path / "server.der")
        self.key_der = str(path / "server.key.der")

    def client(self, name: str) -> tuple[str, str]:
        """Certificate and key of a client."""
        return str(self.path / f"client-{name}.pem"), str(self.path / f"client-{name}.key")


def cert(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run tools/cert."""
    command = [sys.executable, str(ROOT / "tools" / "cert"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


_made: dict[tuple[str, str], Folder] = {}


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """Return a function: the folder of an authority, which has its name only for us, and of a kind of key."""

    def get(authority: str = "ours", key: str = "ec") -> Folder:
        if (authority, key) not in _made:
            path = tmp_path_factory.mktemp("certificates")
            done = cert(path, "--client", *CLIENTS, "--key", key)
            assert done.returncode == 0, done.stderr
            _made[authority, key] = Folder(path)
        return _made[authority, key]

    return get
