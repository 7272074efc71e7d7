"""Libraries of others that parts of the broker need, with the versions that will do: the extras of pyproject.toml."""

from __future__ import annotations

import shlex

EXTRAS = {
    "uvloop": ("uvloop",),
    "passwords": ("argon2-cffi", "bcrypt"),
    "redis": ("redis>=5",),
    "http": ("httpx",),
    "mysql": ("aiomysql", "argon2-cffi", "bcrypt"),
    "postgresql": ("asyncpg", "argon2-cffi", "bcrypt"),
    "jwt": ("PyJWT[crypto]",),
    "client": ("paho-mqtt>=2",),
    "cert": ("cryptography>=38",),
}


def install(extra: str) -> str:
    """The command that installs what an extra brings, for a shell; it works wherever the broker itself came from."""
    return "pip install " + " ".join(shlex.quote(library) for library in EXTRAS[extra])
