"""Lists of a broker's sessions, subscriptions and messages, as pages of JSON: `{"items": [...], "cursor": ...}`.

    server.route("GET", "/clients", lambda request: listed(request, Query(server).sessions))

A client sends `?limit=` and, for the next page, `?cursor=` with the cursor of the page before; the last page has null.
"""

from port.core import const
from port.core.web.http_response import HTTPError, Response
from port.core.web.json_text import JSON, pieces

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any, Callable

    from port.core.monitor.query import Page
    from port.core.web.http import Request

_DIGITS = const(9)


def listed(request: "Request", find: "Callable[..., Page]", **what: "Any") -> Response:
    """The page of `find(cursor=..., limit=..., **what)`, a method of port.core.monitor.query.Query.

    Raises HTTPError 400 for a wrong cursor or limit.
    """
    arguments = request.arguments()
    wanted = dict(what)
    wanted["cursor"] = arguments.get("cursor", "")
    limit = arguments.get("limit")
    try:
        if limit is not None:
            if not limit.isdigit() or len(limit) > _DIGITS:
                raise ValueError("limit must be a number")
            wanted["limit"] = int(limit)
        page = find(**wanted)
    except ValueError as e:
        raise HTTPError(400, str(e))
    return Response(pieces({"items": page.described(), "cursor": page.cursor or None}), JSON)
