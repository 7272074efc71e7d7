"""Routes of requests to handlers by method and path, the same on both runtimes.

    def greet(request):
        return Response("hello, %s\\n" % request.parameters["name"])

    server.route("GET", "/hello/{name}", greet)

A handler is a plain function: it takes a port.core.web.http.Request and returns a port.core.web.http_response.Response, or raises
HTTPError. Handlers of GET answer HEAD, too; the answer to OPTIONS has the methods of a path.
"""

from port.core import const
from port.core.web.http import decoded
from port.core.web.http_response import HTTPError, Response

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

    from port.core.web.http import Request

    Handler = Callable[[Request], Response]
    Found = tuple[Handler, str, dict[str, str]]

# The clients that may use a route.
READ = "read"  # those let in
WRITE = "write"  # those let in that are among the listener's writers
OPEN = "open"  # all
LOCAL = "local"  # all on this machine, and those let in

METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH")
ROLES = (READ, WRITE, OPEN, LOCAL)


class _Path:
    """A path and its handlers.

    parts     its segments: bytes as they are in a request, or the name of a parameter
    rest      True when the last parameter takes all segments that are left
    handlers  method -> (handler, role)
    """

    def __init__(self, path: str) -> None:
        """Raises ValueError naming the fault of the path."""
        if not path.startswith("/") or "?" in path or "#" in path:
            raise ValueError("path %r: it must begin with / and have no ? or #" % path)
        self.parts: "list[Any]" = []
        names = []
        self.rest = False
        for part in path[1:].split("/"):
            if self.rest:
                raise ValueError("path %r: nothing can follow {...}" % path)
            name = part[1:-1]
            if not part.startswith("{"):
                if "{" in part or "}" in part:
                    raise ValueError("path %r: a parameter is a whole segment" % path)
                self.parts.append(part.encode())
                continue
            if not part.endswith("}"):
                raise ValueError("path %r: a parameter is a whole segment" % path)
            self.rest = name.endswith("...")
            name = name[:-3] if self.rest else name
            if not name or name in names:
                raise ValueError("path %r: each parameter needs a name of its own" % path)
            names.append(name)
            self.parts.append(name)
        self.handlers: "dict[bytes, tuple[Handler, str]]" = {}
        # In the order in which paths are tried: a segment that is as it stands before a parameter, before one for the rest.
        self.order = "".join(["a" if isinstance(part, bytes) else "b" for part in self.parts]) + ("c" if self.rest else "")

    def same(self, other: "_Path") -> bool:
        """True when both take the same requests."""
        return self.order == other.order and [p for p in self.parts if isinstance(p, bytes)] == [
            p for p in other.parts if isinstance(p, bytes)
        ]

    def matches(self, parts: "list[bytes]") -> bool:
        """True when a request's path has these segments."""
        count = len(self.parts)
        if len(parts) < count or len(parts) > count and not self.rest:
            return False
        for i in range(count):
            if isinstance(self.parts[i], bytes) and self.parts[i] != parts[i]:
                return False
        return True

    def parameters(self, parts: "list[bytes]") -> "dict[str, str]":
        """Those of a request that matches. Raises HTTPError 400 for one that cannot be decoded."""
        found: "dict[str, str]" = {}
        last = len(self.parts) - 1
        for i in range(last + 1):
            name = self.parts[i]
            if isinstance(name, str):
                found[name] = decoded(b"/".join(parts[i:]) if self.rest and i == last else parts[i])
        return found


class Routes:
    """The routes of a broker, and a way to let in clients beside the authenticators.

    identify  (Request) -> (user or None, "read" or "write"), or None to leave it to the authenticators: called first, for
              tokens and cookies; raises HTTPError 401 to refuse. None: not used
    """

    def __init__(self) -> None:
        self._paths: "list[_Path]" = []
        self.identify: "Optional[Callable[[Request], Optional[tuple[Optional[bytes], str]]]]" = None

    def add(self, method: str, path: str, handler: "Handler", role: str = READ) -> None:
        """Answer requests of this method for this path by a handler.

        path  segments stand for themselves, `{name}` for any segment, and `{name...}` at the end for all remaining segments
        role  see READ, WRITE, OPEN, LOCAL

        Raises ValueError or TypeError naming the fault, ValueError for a second route of the same method and path.
        """
        if method not in METHODS:
            raise ValueError("method must be one of %s, not %r" % (", ".join(METHODS), method))
        if role not in ROLES:
            raise ValueError("role must be one of %s, not %r" % (", ".join(ROLES), role))
        if not callable(handler):
            raise TypeError("handler must be callable, not %r" % (handler,))
        new = _Path(path)
        at = 0
        for known in self._paths:
            if known.same(new):
                if [p for p in known.parts if isinstance(p, str)] != [p for p in new.parts if isinstance(p, str)]:
                    raise ValueError("path %r: its parameters have other names in another route" % path)
                new = known
                break
            if known.order <= new.order:
                at += 1
        else:
            self._paths.insert(at, new)
        if method.encode() in new.handlers:
            raise ValueError("there is a route %s %s" % (method, path))
        new.handlers[method.encode()] = (handler, role)

    def find(self, method: bytes, path: bytes) -> "Found":
        """(handler, role, parameters) for a request. Raises HTTPError: 404, 405, or 400 for a parameter that cannot be decoded."""
        wanted = b"GET" if method == b"HEAD" else method
        parts = path[1:].split(b"/")
        allowed: "dict[str, bool]" = {}
        for known in self._paths:
            if known.matches(parts):
                found = known.handlers.get(wanted)
                if found is not None:
                    return found[0], found[1], known.parameters(parts)
                for name in known.handlers:
                    allowed[str(name, "utf-8")] = True
        if not allowed:
            raise HTTPError(404, "there is no such page")
        names = [name for name in METHODS if name in allowed]
        if "GET" in allowed:
            names.insert(1, "HEAD")
        fields = (("Allow", ", ".join(names)),)
        if method == b"OPTIONS":
            return (lambda request: Response(b"", "", 204, fields)), READ, {}
        raise HTTPError(405, "only %s" % ", ".join(names), fields)
