"""Local users: adding, changing, disabling and finding them."""

import re
from collections.abc import Sequence
from typing import Final

from sqlalchemy import delete, func, or_, select
from sqlalchemy.orm import Session

from app import audit
from app.access.passwords import Hasher, check_password
from app.access.roles import Role
from app.access.rows import KeyRow, TokenRow, UserRow
from app.errors import ConflictError, InvalidInputError, NotFoundError
from app.store.tables import Json

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,127}")


def user_name(text: str) -> str:
    """Return the name that somebody means: capital letters are the same as small ones.

    Raises:
        InvalidInputError: If no user can have it.
    """
    name = text.strip().lower()
    if _NAME.fullmatch(name) is None:
        raise InvalidInputError(
            "expected a user name of 1 to 128 letters, digits and . _ @ + - that starts with a"
            " letter or digit"
        )
    return name


def check_free(session: Session, name: str) -> None:
    """Refuse a name that somebody has.

    Raises:
        ConflictError: If there is such a user.
    """
    if session.get(UserRow, name) is not None:
        raise ConflictError(f"there is a user {name} already")


def add_user(
    session: Session,
    name: str,
    role: Role,
    *,
    password_hash: str,
    actor: str,
    now: float,
) -> UserRow:
    """Add a user.

    Args:
        session: Open transaction.
        name: User name.
        role: What the user may do.
        password_hash: Of ``hash_password``; empty: logs in with keys, or elsewhere.
        actor: Who adds the user.
        now: Time of the change.

    Raises:
        InvalidInputError: If the name is not allowed.
        ConflictError: If there is such a user.
    """
    name = user_name(name)
    check_free(session, name)
    row = UserRow(name=name, role=role, password_hash=password_hash, created_at=now)
    session.add(row)
    session.flush()
    audit.record(session, actor, "add user", name, {"after": _state(row)}, now=now)
    return row


def hash_password(hasher: Hasher, password: str) -> str:
    """Return what is kept of a password; slow, so before the transaction.

    Raises:
        InvalidInputError: If it is too short or too long.
    """
    return hasher.hash(check_password(password))


def set_password(
    session: Session, name: str, *, password_hash: str, actor: str, now: float
) -> None:
    """Set a password; whoever is logged in with the one from before is logged out.

    Raises:
        NotFoundError: If there is no such user.
    """
    row = get_user(session, name)
    row.password_hash = password_hash
    _end_logins(session, name)
    audit.record(session, actor, "set password", name, {}, now=now)


def set_role(session: Session, name: str, role: Role, *, actor: str, now: float) -> None:
    """Change what a user may do, from the next request on.

    Raises:
        NotFoundError: If there is no such user.
    """
    row = get_user(session, name)
    before = _state(row)
    row.role = role
    change: Json = {"before": before, "after": _state(row)}
    audit.record(session, actor, "set role", name, change, now=now)


def disable_user(session: Session, name: str, *, actor: str, now: float) -> None:
    """Lock a user out at once: password, keys and logins, those of the provider included.

    Raises:
        NotFoundError: If there is no such user.
        ConflictError: If the user is disabled.
    """
    row = get_user(session, name)
    if row.disabled_at is not None:
        raise ConflictError(f"user {name} is disabled already")
    before = _state(row)
    row.disabled_at = now
    _end_logins(session, name)
    change: Json = {"before": before, "after": _state(row)}
    audit.record(session, actor, "disable user", name, change, now=now)


def enable_user(session: Session, name: str, *, actor: str, now: float) -> None:
    """Let a disabled user in again, with the same password and keys.

    Raises:
        NotFoundError: If there is no such user.
        ConflictError: If the user is not disabled.
    """
    row = get_user(session, name)
    if row.disabled_at is None:
        raise ConflictError(f"user {name} is not disabled")
    before = _state(row)
    row.disabled_at = None
    change: Json = {"before": before, "after": _state(row)}
    audit.record(session, actor, "enable user", name, change, now=now)


def end_logins(session: Session, name: str, *, actor: str, now: float) -> int:
    """End the logins of a name, here or at the identity provider; the next one brings new roles.

    Returns:
        How many there were.
    """
    count = _end_logins(session, name)
    audit.record(session, actor, "end logins", name, {"logins": count}, now=now)
    return count


def get_user(session: Session, name: str) -> UserRow:
    """Return a user.

    Raises:
        NotFoundError: If there is no such user.
    """
    row = session.get(UserRow, name)
    if row is None:
        raise NotFoundError(f"there is no user {name}")
    return row


def is_user(session: Session, name: str) -> bool:
    """Tell whether there is such a user."""
    return session.get(UserRow, name) is not None


def list_users(session: Session) -> Sequence[UserRow]:
    """Return every user by name."""
    return session.scalars(select(UserRow).order_by(UserRow.name)).all()


def has_users(session: Session) -> bool:
    """Tell whether there ever was a user, disabled ones included."""
    return session.scalar(select(UserRow.name).limit(1)) is not None


def can_anybody_log_in(session: Session, *, now: float) -> bool:
    """Tell whether a user who is not disabled has a password or a key that is valid."""
    valid_key = (
        select(KeyRow.id)
        .where(
            KeyRow.user_name == UserRow.name,
            KeyRow.revoked_at.is_(None),
            or_(KeyRow.expires_at.is_(None), KeyRow.expires_at > now),
        )
        .exists()
    )
    wanted = select(func.count()).select_from(UserRow)
    wanted = wanted.where(
        UserRow.disabled_at.is_(None), or_(UserRow.password_hash != "", valid_key)
    )
    return bool(session.scalar(wanted))


def _end_logins(session: Session, name: str) -> int:
    ended = session.execute(
        delete(TokenRow).where(TokenRow.user_name == name).returning(TokenRow.id)
    )
    return len(ended.all())


def _state(row: UserRow) -> Json:
    return {
        "role": str(row.role),
        "has_password": bool(row.password_hash),
        "is_disabled": row.disabled_at is not None,
    }
