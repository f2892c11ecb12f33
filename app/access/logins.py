"""Logins: a name and a password for a token, and a key, token or cookie for who shows it."""

import logging
from typing import Final

from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from app import audit
from app.access.identity import Identity
from app.access.passwords import Hasher
from app.access.roles import Role, lower
from app.access.rows import KeyRow, TokenRow, UserRow
from app.access.secret_texts import id_of, is_secret, make_secret
from app.errors import CredentialsError
from app.store.database import Database

logger = logging.getLogger(__name__)

_HOUR_S: Final = 3600.0

REFUSED: Final = "Could not validate credentials"
"""The one answer to every wrong credential; the words that clients of this protocol know."""


def check_login(database: Database, hasher: Hasher, name: str, password: str) -> Identity:
    """Check the password of a local user; takes as long for names that nobody has.

    Raises:
        CredentialsError: If name or password is wrong, or the user is disabled.
    """
    with database.reading() as session:
        row = session.get(UserRow, name)
    is_right = hasher.verify(row.password_hash if row else "", password)
    if row is None or not is_right or row.disabled_at is not None:
        raise CredentialsError(REFUSED)
    return Identity(row.name, Role(row.role), "password")


def note_refused_login(database: Database, name: str, address: str, *, now: float) -> None:
    """Write down that a login was refused; a name that nobody has may be a password."""
    with database.writing() as session:
        known = session.get(UserRow, name) is not None
        shown = name if known else "unknown name"
        audit.record(session, "unknown", "refuse login", shown, {"address": address}, now=now)
    logger.warning("refused a login of %s from %s", shown if known else "an unknown name", address)


def issue_token(
    session: Session,
    identity: Identity,
    *,
    is_cookie: bool,
    is_local: bool,
    hours: float,
    now: float,
) -> str:
    """Log somebody in.

    Args:
        session: Open transaction.
        identity: Who was checked.
        is_cookie: Whether a browser keeps it, which sends it without being asked.
        is_local: Whether the user is a local one, whose role is looked up each time.
        hours: How long the login lasts.
        now: Time of the login.

    Returns:
        The token, which nobody can ask for again.
    """
    session.execute(delete(TokenRow).where(TokenRow.expires_at <= now))
    provider_role = None if is_local else identity.role or ""
    if provider_role is not None:
        # What the provider says now holds for the logins of before, too.
        of_before = TokenRow.user_name == identity.name, TokenRow.provider_role.is_not(None)
        session.execute(update(TokenRow).where(*of_before).values(provider_role=provider_role))
    secret = make_secret("cookie" if is_cookie else "token")
    session.add(
        TokenRow(
            id=secret.id,
            user_name=identity.name,
            is_cookie=is_cookie,
            provider_role=provider_role,
            sha256=secret.sha256,
            created_at=now,
            expires_at=now + hours * _HOUR_S,
        )
    )
    change = {"means": identity.means, "for": "a browser" if is_cookie else "a program"}
    audit.record(session, identity.name, "log in", identity.name, change, now=now)
    return secret.text


def end_login(session: Session, identity: Identity, *, now: float) -> None:
    """Log somebody out, of this login only."""
    session.execute(delete(TokenRow).where(TokenRow.id == identity.token_id))
    audit.record(session, identity.name, "log out", identity.name, {}, now=now)


def who_has_key(session: Session, text: str, *, now: float) -> Identity | None:
    """Return whose API key a text is; None when it is none that is valid."""
    row = session.get(KeyRow, id_of(text, "key") or "")
    if not is_secret(text, row.sha256 if row else None) or row is None:
        return None
    user = session.get(UserRow, row.user_name)
    is_over = row.expires_at is not None and row.expires_at <= now
    if row.revoked_at is not None or is_over or user is None or user.disabled_at is not None:
        return None
    return Identity(user.name, lower(Role(user.role), Role(row.role)), f"key {row.id}")


def who_has_token(session: Session, text: str, *, is_cookie: bool, now: float) -> Identity | None:
    """Return whose login a text is; None when it is none that is valid."""
    row = session.get(TokenRow, id_of(text, "cookie" if is_cookie else "token") or "")
    if not is_secret(text, row.sha256 if row else None) or row is None or row.expires_at <= now:
        return None
    user = session.get(UserRow, row.user_name)
    means = "browser" if is_cookie else "login"
    if user is not None and user.disabled_at is not None:
        return None
    if row.provider_role is not None:
        role = Role(row.provider_role) if row.provider_role else None
        return Identity(row.user_name, role, means, row.id)
    return Identity(user.name, Role(user.role), means, row.id) if user is not None else None


def is_disabled(session: Session, name: str) -> bool:
    """Tell whether somebody whom the identity provider knows is locked out here."""
    user = session.get(UserRow, name)
    return user is not None and user.disabled_at is not None


def is_local(session: Session, name: str) -> bool:
    """Tell whether a name has a password here, so that no other one counts for it."""
    user = session.get(UserRow, name)
    return user is not None and (bool(user.password_hash) or user.disabled_at is not None)
