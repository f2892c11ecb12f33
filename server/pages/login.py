"""The page on which people log in, with what this deployment offers for it."""

from urllib.parse import urlsplit

from app.settings import Settings
from server.pages import render


def login_form(
    settings: Settings, *, place: str, problem: str = "", user: str = "", leave: str = ""
) -> str:
    """Write the page.

    Args:
        settings: Settings of the deployment.
        place: Where to go afterwards, on this server.
        problem: Why the last try failed.
        user: Name that was typed then.
        leave: Address at the identity provider that ends the login there, too.
    """
    return render(
        "login.html",
        place=place,
        problem=problem,
        user=user,
        leave=leave,
        provider=provider_label(settings),
        server=settings.public_url.rstrip("/"),
    )


def provider_label(settings: Settings) -> str:
    """Return what people call the identity provider; empty where nobody logs in there."""
    if not settings.oidc_issuer or not settings.oidc_client_id:
        return ""
    return settings.oidc_label or urlsplit(settings.oidc_issuer).hostname or "identity provider"
