"""Whether clients have to log in, and whether a server may listen where it was told to."""

from ipaddress import ip_address
from urllib.parse import urlsplit

from sqlalchemy.orm import Session

from app.access import users
from app.errors import SettingsError
from app.settings import Settings


def is_required(session: Session, settings: Settings) -> bool:
    """Tell whether clients have to log in.

    Always on an address that others reach. On this machine alone: where it is set, where an
    identity provider is, and once there was a user, so that a data folder that was protected
    is never open by mistake.
    """
    if settings.access != "auto":
        return settings.access == "on"
    is_open = is_loopback(settings.host) and not settings.oidc_issuer
    return not is_open or users.has_users(session)


def check_binding(session: Session, settings: Settings, *, now: float) -> None:
    """Refuse to listen where strangers could come in, or where nobody could.

    Raises:
        SettingsError: If the address is not this machine's own and access is off, or nobody
            is there who may log in; the sentence says what to set.
    """
    if settings.access == "off" and not is_loopback(settings.host):
        raise SettingsError(
            f"setting access: `off` is for this machine alone, but {settings.host} is reached from"
            " others; set CACLABEL_ACCESS=auto and add a user, or listen on 127.0.0.1"
        )
    check_provider(settings)
    if not is_required(session, settings) or settings.oidc_issuer:
        return
    if not users.can_anybody_log_in(session, now=now):
        raise SettingsError(
            f"listening on {settings.host} needs somebody who may log in: add one with `caclabel"
            f" user add NAME --role admin --data {settings.data}`, or set CACLABEL_OIDC_ISSUER and"
            " CACLABEL_OIDC_AUDIENCE; without logins the server listens on 127.0.0.1 only"
        )


def check_provider(settings: Settings) -> None:
    """Refuse settings of an identity provider that would let anybody in, or nobody.

    Raises:
        SettingsError: If the issuer is not reached by https, the audience is missing, or the
            address of this server or the file of the secret cannot be used.
    """
    _check_public_url(settings.public_url)
    if not settings.oidc_issuer:
        return
    if not is_private(settings.oidc_issuer):
        raise SettingsError("setting oidc_issuer: expected an address with https")
    if not settings.oidc_audience:
        raise SettingsError(
            "setting oidc_audience: expected what the issuer's tokens for this server are meant"
            " for; without it tokens for every other program would be taken"
        )
    client_secret(settings)


def client_secret(settings: Settings) -> str:
    """Return the secret of the client by which people log in; empty where it has none.

    Raises:
        SettingsError: If the file that holds it cannot be read, or both are set.
    """
    given = settings.oidc_client_secret.get_secret_value()
    if settings.oidc_client_secret_file is None:
        return given
    if given:
        raise SettingsError("set oidc_client_secret or oidc_client_secret_file, not both")
    try:
        kept = settings.oidc_client_secret_file.read_text().strip()
    except (OSError, UnicodeDecodeError):
        kept = ""
    if not kept:
        raise SettingsError("setting oidc_client_secret_file: expected a file with the secret")
    return kept


def _check_public_url(address: str) -> None:
    parts = urlsplit(address)
    is_place = parts.scheme in ("http", "https") and bool(parts.netloc) and "@" not in parts.netloc
    if address and (not is_place or parts.path.strip("/") or parts.query or parts.fragment):
        raise SettingsError(
            "setting public_url: expected an address such as https://cac.hospital.example"
        )


def is_private(address: str) -> bool:
    """Tell whether nobody between here and an address can listen or answer instead."""
    parts = urlsplit(address)
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))


def is_loopback(host: str) -> bool:
    """Tell whether a host is always this machine; names but one are not looked up."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
