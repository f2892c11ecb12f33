"""What requests to a DICOMweb server are given last: who asks, and a query it understands."""

from dataclasses import dataclass
from typing import Final

import requests

_SPELLING: Final = (("+", "%20"), ("%2A", "*"), ("%3F", "?"))
"""How a query is spelled so that servers understand it that decode little: Orthanc up to 1.10
takes an encoded wildcard for the character itself, others a plus for a plus."""


@dataclass(frozen=True)
class Credentials(requests.auth.AuthBase):
    """What every request is given last; a redirect to another host loses the credentials."""

    user: str
    password: str
    token: str

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Put the credentials into a request and spell its query plainly."""
        # The client names the host without its port, which virtual hosts may refuse.
        request.headers.pop("Host", None)
        address, mark, query = (request.url or "").partition("?")
        for encoded, plain in _SPELLING:
            query = query.replace(encoded, plain)
        request.url = address + mark + query
        if self.token:
            request.headers["Authorization"] = f"Bearer {self.token}"
        elif self.user:
            requests.auth.HTTPBasicAuth(self.user.encode(), self.password.encode())(request)
        return request
