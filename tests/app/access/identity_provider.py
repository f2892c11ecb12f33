"""A small identity provider on this machine: real keys, real HTTP, real signatures."""

import base64
import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

Json = dict[str, Any]
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

AUDIENCE = "caclabel"
PASSWORD = "provider's password"
CLIENT = "caclabel-server"
SECRET = "hush"

_ROOT = "/realms/hospital"

_PAGE = "<title>Provider</title><form method=post><button>I am dr-oidc</button></form>"
"""Its own page to log in; a click is password and second factor at once."""


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
        access_claims: Changes of the access token that a code brings.
        id_claims: Changes of the ID token that it brings.
        abilities: What its description says besides addresses.
        sent: Forms that came to the address of tokens, with the header of the client.
        asked: How often each path was asked for.
        is_up: Whether it answers.
    """

    issuer: str = ""
    keys: dict[str, tuple[str, PrivateKey]] = field(default_factory=dict)
    claims: dict[str, Json] = field(default_factory=dict)
    access_claims: Json = field(default_factory=dict)
    id_claims: Json = field(default_factory=dict)
    abilities: Json = field(default_factory=dict)
    sent: list[tuple[Json, str]] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)
    is_up: bool = True
    _codes: dict[str, Json] = field(default_factory=dict)

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

    def answer(self, path: str, form: Json, authorization: str = "") -> tuple[int, Json]:
        """Answer a request."""
        self.asked[path] += 1
        if not self.is_up:
            return 503, {}
        if path == f"{_ROOT}/.well-known/openid-configuration":
            return 200, {"issuer": self.issuer, **self._addresses(), **self.abilities}
        if path == f"{_ROOT}/certs":
            return 200, {"keys": [self._public(key_id) for key_id in self.keys]}
        if path == f"{_ROOT}/token":
            self.sent.append((form, authorization))
            return self._tokens(form, authorization)
        return 401, {"error": "invalid_grant"}

    def authorize(self, query: Json) -> str:
        """Give out a code for a login; returns where the browser goes with it."""
        code = secrets.token_hex(8)
        self._codes[code] = query
        came = {"code": code, "state": query["state"], "iss": self.issuer}
        return f"{query['redirect_uri']}?{urlencode(came)}"

    def _addresses(self) -> dict[str, str]:
        ends = ("authorization", "token", "end_session")
        found = {f"{end}_endpoint": f"{self.issuer}/{end}" for end in ends}
        return {**found, "jwks_uri": f"{self.issuer}/certs"}

    def _tokens(self, form: Json, authorization: str) -> tuple[int, Json]:
        by_header = "Basic " + base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        if form.get("client_secret") != SECRET and authorization != by_header:
            return 401, {"error": "invalid_client"}
        if form.get("password") == PASSWORD and form["username"] in self.claims:
            return 200, {"access_token": self.token(**self.claims[form["username"]])}
        asked = self._codes.pop(form.get("code", ""), None)
        if asked is None or asked["redirect_uri"] != form.get("redirect_uri"):
            return 400, {"error": "invalid_grant"}
        digest = sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if asked["code_challenge"] != challenge or asked["code_challenge_method"] != "S256":
            return 400, {"error": "invalid_grant"}
        of_person = {"sub": "f:1", "nonce": asked["nonce"]}
        id_token = {**of_person, "aud": CLIENT, "realm_access": None, **self.id_claims}
        access_token = {"sub": "f:1", **self.access_claims}
        return 200, {
            "id_token": self.token("ec", **id_token),
            "access_token": self.token(**access_token),
        }

    def _public(self, key_id: str) -> Json:
        algorithm, key = self.keys[key_id]
        kind = ECAlgorithm if algorithm == "ES256" else RSAAlgorithm
        public: Json = json.loads(kind.to_jwk(key.public_key()))  # type: ignore[arg-type]  # of its kind
        return {**public, "kid": key_id, "use": "sig", "alg": algorithm}


@contextmanager
def providing(host: str = "127.0.0.1") -> Iterator[IdentityProvider]:
    """Run a provider with a key of each algorithm; ``localhost`` is another site to browsers."""
    provider = IdentityProvider()
    provider.keys = {"rsa": ("RS256", make_key("RS256")), "ec": ("ES256", make_key("ES256"))}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith(f"{_ROOT}/authorization") and provider.is_up:
                self._send(200, _PAGE.encode(), "text/html")
            else:
                self._answer({})

        def do_POST(self) -> None:
            form = parsed(self.rfile.read(int(self.headers["content-length"])).decode())
            if self.path.startswith(f"{_ROOT}/authorization"):
                place = provider.authorize(parsed(urlsplit(self.path).query))
                self._send(302, b"", "text/plain", place)
            else:
                self._answer(form)

        def _answer(self, form: Json) -> None:
            authorization = self.headers.get("authorization", "")
            status, answer = provider.answer(self.path, form, authorization)
            self._send(status, json.dumps(answer).encode(), "application/json")

        def _send(self, status: int, body: bytes, kind: str, place: str = "") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            if place:
                self.send_header("Location", place)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        provider.issuer = f"http://{host}:{server.server_port}{_ROOT}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield provider
        finally:
            server.shutdown()
            thread.join()


def parsed(query: str) -> Json:
    """Return the fields of a form or of an address, each with its last value."""
    return {name: values[-1] for name, values in parse_qs(query).items()}
