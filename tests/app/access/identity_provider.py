"""A small identity provider on this machine: real keys, real HTTP, real signatures."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

Json = dict[str, Any]
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

AUDIENCE = "caclabel"
PASSWORD = "provider's password"


def make_key(algorithm: str) -> PrivateKey:
    if algorithm == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class IdentityProvider:
    """What the provider knows; tests change it.

    Attributes:
        keys: Private keys with their algorithms, by name.
        claims: Of the token that a name and password bring, by user name.
        asked: How often each path was asked for.
        is_up: Whether it answers.
    """

    issuer: str = ""
    keys: dict[str, tuple[str, PrivateKey]] = field(default_factory=dict)
    claims: dict[str, Json] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    is_up: bool = True

    def token(self, key_id: str = "rsa", **changes: Any) -> str:
        """Sign a token of a reviewer; None takes a claim away."""
        algorithm, key = self.keys[key_id]
        return jwt.encode(
            self.token_claims(**changes), key, algorithm=algorithm, headers={"kid": key_id}
        )

    def token_claims(self, **changes: object) -> Json:
        claims: Json = {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "exp": time.time() + 60,
            "preferred_username": "dr-oidc",
            "realm_access": {"roles": ["offline_access", "monailabel-reviewer"]},
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def answer(self, path: str, form: dict[str, list[str]]) -> tuple[int, Json]:
        """Answer a request."""
        self.asked[path] += 1
        if not self.is_up:
            return 503, {}
        root = "/realms/hospital"
        if path == f"{root}/.well-known/openid-configuration":
            addresses = {"jwks_uri": "/certs", "token_endpoint": "/token"}
            found = {name: self.issuer + place for name, place in addresses.items()}
            return 200, {"issuer": self.issuer, **found}
        if path == f"{root}/certs":
            return 200, {"keys": [self._public(key_id) for key_id in self.keys]}
        if path == f"{root}/token" and form.get("password") == [PASSWORD]:
            claims = self.claims.get(form["username"][0])
            if claims is not None and form.get("client_secret") == ["hush"]:
                return 200, {"access_token": self.token(**claims)}
        return 401, {"error": "invalid_grant"}

    def _public(self, key_id: str) -> Json:
        algorithm, key = self.keys[key_id]
        kind = ECAlgorithm if algorithm == "ES256" else RSAAlgorithm
        public: Json = json.loads(kind.to_jwk(key.public_key()))  # type: ignore[arg-type]  # of its kind
        return {**public, "kid": key_id, "use": "sig", "alg": algorithm}


@contextmanager
def providing() -> Iterator[IdentityProvider]:
    """Run a provider with a key of each algorithm."""
    provider = IdentityProvider()
    provider.keys = {"rsa": ("RS256", make_key("RS256")), "ec": ("ES256", make_key("ES256"))}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            self._answer(parse_qs(body.decode()))

        def _answer(self, form: dict[str, list[str]]) -> None:
            status, answer = provider.answer(self.path, form)
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        provider.issuer = f"http://127.0.0.1:{server.server_port}/realms/hospital"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield provider
        finally:
            server.shutdown()
            thread.join()
