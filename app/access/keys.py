"""API keys: for scripts, and for viewers that can only be given an address."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import audit
from app.access.roles import Role
from app.access.rows import KeyRow
from app.access.secret_texts import make_secret
from app.access.users import get_user
from app.errors import ConflictError, InvalidInputError, NotFoundError
from app.store.tables import Json

_DAY_S: Final = 24 * 3600.0

_LONGEST_LABEL: Final = 200


def add_key(
    session: Session,
    user_name: str,
    *,
    label: str,
    role: Role | None = None,
    days: float | None = None,
    actor: str,
    now: float,
) -> tuple[KeyRow, str]:
    """Make a key for a user.

    Args:
        session: Open transaction.
        user_name: Whose key it is.
        label: Where it is used, for people.
        role: What it may do, never more than the user; None: as much.
        days: How long it is valid; None: until it is revoked.
        actor: Who makes it.
        now: Time of the change.

    Returns:
        The row, and the key itself, which nobody can ask for again.

    Raises:
        NotFoundError: If there is no such user.
        InvalidInputError: If the label or the number of days cannot be used.
    """
    user = get_user(session, user_name)
    if days is not None and not days > 0:
        raise InvalidInputError(f"expected a key that is valid for some days, got {days:g}")
    if len(label) > _LONGEST_LABEL or not (label.isprintable() or not label):
        raise InvalidInputError(f"expected a label of at most {_LONGEST_LABEL} plain characters")
    secret = make_secret("key")
    row = KeyRow(
        id=secret.id,
        user_name=user_name,
        label=label,
        role=role or user.role,
        sha256=secret.sha256,
        created_at=now,
        expires_at=None if days is None else now + days * _DAY_S,
    )
    session.add(row)
    session.flush()
    after: Json = {"user": user_name, "label": label, "role": str(row.role), "days": days}
    audit.record(session, actor, "add key", f"key {row.id}", {"after": after}, now=now)
    return row, secret.text


def revoke_key(session: Session, key_id: str, *, actor: str, now: float) -> KeyRow:
    """Make a key worthless at once.

    Raises:
        NotFoundError: If there is no such key.
        ConflictError: If it was revoked.
    """
    row = session.get(KeyRow, key_id)
    if row is None:
        raise NotFoundError(f"there is no key {key_id[:20]}; `caclabel key list` shows the ids")
    if row.revoked_at is not None:
        raise ConflictError(f"key {key_id} is revoked already")
    row.revoked_at = now
    change: Json = {
        "before": {"user": row.user_name, "is_revoked": False},
        "after": {"user": row.user_name, "is_revoked": True},
    }
    audit.record(session, actor, "revoke key", f"key {row.id}", change, now=now)
    return row


def list_keys(session: Session) -> Sequence[KeyRow]:
    """Return every key, the revoked ones included, by user and age."""
    return session.scalars(select(KeyRow).order_by(KeyRow.user_name, KeyRow.created_at)).all()
