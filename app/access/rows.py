"""Rows of users, their API keys and their logins; no secret is in them, only its hash."""

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from app.store.tables import Base


class UserRow(Base):
    """Somebody who may log in, or whose keys may ask."""

    __tablename__ = "users"

    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    role: Mapped[str] = mapped_column(String(16))
    password_hash: Mapped[str] = mapped_column(default="")  # argon2id; empty: no password
    created_at: Mapped[float]
    disabled_at: Mapped[float | None]


class KeyRow(Base):
    """An API key of a user."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    user_name: Mapped[str] = mapped_column(ForeignKey("users.name"), index=True)
    label: Mapped[str]  # where it is used, for people
    role: Mapped[str] = mapped_column(String(16))  # at most the user's own counts
    sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[float]
    expires_at: Mapped[float | None]
    revoked_at: Mapped[float | None]


class TokenRow(Base):
    """A login that lasts for a while: a bearer token, or the cookie of a browser."""

    __tablename__ = "access_tokens"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    # No foreign key: the identity provider's people have no row of their own.
    user_name: Mapped[str] = mapped_column(String(128), index=True)
    is_cookie: Mapped[bool]
    provider_role: Mapped[str | None] = mapped_column(String(16))  # None: a local user's
    sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[float]
    expires_at: Mapped[float] = mapped_column(index=True)
