"""Somebody who logs in on the page of an identity provider, step by step."""

from urllib.parse import urlsplit

from httpx2 import Response

from tests.app.access.identity_provider import IdentityProvider, parsed
from tests.server.security.conftest import GuardedSite


def begin(site: GuardedSite, place: str = "/ohif/") -> str:
    """Follow the link of the login page; returns where it leads at the provider."""
    answer = site.client.get("/login/provider", params={"next": place}, follow_redirects=False)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


def come_back(site: GuardedSite, place: str) -> Response:
    """Follow the provider's way back."""
    parts = urlsplit(place)
    return site.client.get(f"{parts.path}?{parts.query}", follow_redirects=False)


def log_in(site: GuardedSite, issuer: IdentityProvider, place: str = "/ohif/") -> Response:
    return come_back(site, issuer.authorize(parsed(urlsplit(begin(site, place)).query)))


def is_in(site: GuardedSite) -> bool:
    return site.client.get("/info/").status_code == 200
