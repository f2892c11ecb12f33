"""A hasher that is quick, and remembers what it was asked."""

from hashlib import sha256


class QuickHasher:
    """Stands in for argon2 where a test is not about it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def hash(self, password: str) -> str:
        return sha256(password.encode()).hexdigest()

    def verify(self, kept: str, password: str) -> bool:
        self.asked.append(kept)
        return bool(kept) and self.hash(password) == kept
