"""Where the id of a request, and what it asks for, stand while it is served."""

from typing import Final

REQUEST_ID_HEADER: Final = "X-Request-ID"
"""Clients and proxies may give a request an id; every answer names it."""

REQUEST_ID: Final = "caclabel.request_id"
"""Key of the id in the scope of a request."""

ROUTE: Final = "caclabel.route"
"""Key of its route as it is declared: a path may hold ids and a key, which no log gets."""
