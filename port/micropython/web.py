"""Public names for a program's own pages, loaded from here by `from port.micropython import Response` and the like."""

from port.core.monitor.query import Query
from port.core.web.http_response import HTTPError, Response
from port.core.web.lists import listed
from port.core.web.stored_file import stored_file

__all__ = ("HTTPError", "Query", "Response", "listed", "stored_file")
