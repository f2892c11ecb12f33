"""Clients that annotate, an admin who watches, and a pool that is filled up for them."""

import asyncio
import hashlib
import json
import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2

from tests.load.records import Hold, Records
from tests.load.site import Case, Site

_TIMEOUT_S: Final = 60.0

_STRATEGIES: Final = ("first", "random")
"""With the first one everybody wants the same image."""

_OK: Final = 200


@dataclass(frozen=True)
class Plan:
    """How much is asked for.

    Attributes:
        clients: Annotators at once.
        seconds: How long they begin with another image.
        most_requests: They also stop after so many requests.
        think_s: Mean of the pauses; each is drawn anew from an exponential distribution.
        seed: Decides what they do.
        images: Images for each client at the start; as many again come whenever half is left.
    """

    clients: int
    seconds: float
    most_requests: int = 1_000_000
    think_s: float = 2.0
    seed: int = 20220811
    images: int = 8


@dataclass
class Crowd:
    """Everybody who asks.

    Attributes:
        site: What they ask.
        plan: How much they ask for.
        records: What they saw.
        is_dry: Set when images are wanted.
    """

    site: Site
    plan: Plan
    records: Records = field(default_factory=Records)
    is_dry: threading.Event = field(default_factory=threading.Event)
    deadline: float = 0.0

    @property
    def is_open(self) -> bool:
        """Whether anybody still begins with another image."""
        is_early = time.monotonic() < self.deadline
        return is_early and self.records.count < self.plan.most_requests

    async def annotate(self) -> None:
        """Let everybody work until the plan is fulfilled."""
        credentials = [
            await asyncio.to_thread(self.site.log_in, name) for name in self.site.annotators
        ]
        self.deadline = time.monotonic() + self.plan.seconds
        people = zip(self.site.annotators, credentials, strict=True)
        async with asyncio.TaskGroup() as group:
            for number, (name, shown) in enumerate(people):
                rng = random.Random(self.plan.seed + number)
                group.create_task(Annotator(self, name, shown, rng).work())
            group.create_task(self._administrate())

    async def _administrate(self) -> None:
        """Look at what an admin looks at, and see to it that there is enough to label."""
        site, wanted = self.site, self.plan.images * self.plan.clients / 2
        shown = site.admin()["Authorization"].partition(" ")[2]
        asked = await asyncio.to_thread(
            site.server.request, "GET", "/metrics", headers=site.admin()
        )
        has_metrics = asked.status_code == _OK
        async with Caller(self, shown) as caller:
            while self.is_open:
                await caller.ask("GET /train/", "GET", "/train/?all=true")
                if has_metrics:
                    await caller.ask("GET /metrics", "GET", "/metrics")
                await caller.ask("GET /health", "GET", "/health")
                if len(site.cases.known) - len(self.records.kept) < wanted:
                    self.is_dry.set()
                await asyncio.sleep(1.0)


class Caller:
    """One program with its connections; every answer is noted."""

    def __init__(self, crowd: Crowd, credential: str) -> None:
        self._records = crowd.records
        self._client = httpx2.AsyncClient(
            base_url=crowd.site.server.url,
            headers={"Authorization": f"Bearer {credential}"},
            timeout=_TIMEOUT_S,
            # Nothing is encrypted here, and reading the certificates takes each client 50 ms.
            verify=False,
        )

    async def __aenter__(self) -> "Caller":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def ask(self, kind: str, method: str, path: str, **given: Any) -> httpx2.Response | None:
        """Ask for something; None where the answer is none that is expected."""
        began, problem, answer = time.monotonic(), "", None
        try:
            answer = await self._client.request(method, path, **given)
            if answer.status_code != _OK:
                problem = f"{answer.status_code} {answer.text[:200]}"
        except httpx2.HTTPError as error:
            problem = repr(error)
        self._records.add(kind, began, problem)
        return None if problem else answer


class Annotator:
    """Somebody who labels one image after the other."""

    def __init__(self, crowd: Crowd, name: str, credential: str, rng: random.Random) -> None:
        self._crowd = crowd
        self._name = name
        self._credential = credential
        self._rng = rng

    async def work(self) -> None:
        """Label one image at least, and others until nobody begins any more."""
        skipped: dict[str, str] = {}
        is_first = True
        async with Caller(self._crowd, self._credential) as caller:
            await self._think()
            while is_first or self._crowd.is_open:
                is_first = False
                case, began = await self._next(caller, skipped)
                if case is None:
                    await self._think()
                    continue
                await self._look_at(caller, case)
                is_skipped = self._rng.random() < 0.05
                ended = time.monotonic()
                hold = Hold(case.image, self._name, began, ended)
                self._crowd.records.holds.append(hold)
                skipped = {"skip": case.image} if is_skipped else {}
                if not is_skipped:
                    await self._submit(caller, case)
                await self._look_around(caller)

    async def _next(self, caller: Caller, skipped: dict[str, str]) -> tuple[Case | None, float]:
        path = f"/activelearning/{self._rng.choice(_STRATEGIES)}"
        answer = await caller.ask("POST /activelearning/", "POST", path, json=skipped)
        if answer is None:
            return None, 0.0
        image = answer.json().get("id")
        if image is None:
            # New images are on their way: more of them would only delay those.
            self._crowd.records.dry += 1
            return None, 0.0
        return self._crowd.site.cases.known[image], time.monotonic()

    async def _look_at(self, caller: Caller, case: Case) -> None:
        """Open the image, as 3D Slicer does, look, and perhaps click in it."""
        got = await caller.ask(
            "GET /datastore/image", "GET", f"/datastore/image?image={case.image}"
        )
        if got is not None and hashlib.sha256(got.content).hexdigest() != case.sha256:
            self._crowd.records.errors.append(f"GET /datastore/image: other bytes of {case.image}")
        await self._think()
        if self._rng.random() < 0.5:
            await self._click(caller, "POST /infer/ click", f"image={case.image}", case)
        if self._rng.random() < 0.1 and got is not None:
            await self._use_session(caller, case, got.content)
        await self._think()

    async def _click(self, caller: Caller, kind: str, target: str, case: Case) -> None:
        path = f"/infer/lesion_click?{target}&output=json"
        form = {"params": json.dumps({"foreground": [case.click], "client_id": self._name})}
        answer = await caller.ask(kind, "POST", path, data=form)
        if answer is not None and "label_names" not in answer.json():
            self._crowd.records.errors.append(f"{kind}: no lesion in {answer.text[:200]}")

    async def _use_session(self, caller: Caller, case: Case, content: bytes) -> None:
        files = {"files": (f"{case.image}.nii.gz", content)}
        opened = await caller.ask("PUT /session/", "PUT", "/session/", files=files)
        if opened is None:
            return
        session = opened.json()["session_id"]
        target = f"session_id={session}"
        await self._click(caller, "POST /infer/ session", target, case)
        await caller.ask("DELETE /session/", "DELETE", f"/session/{session}")

    async def _submit(self, caller: Caller, case: Case) -> None:
        files = {"label": (f"{case.image}.nrrd", case.label)}
        path, said = f"/datastore/label?image={case.image}", {"params": "{}"}
        answer = await caller.ask("PUT /datastore/label", "PUT", path, files=files, data=said)
        if answer is not None:
            digest = hashlib.sha256(case.label).hexdigest()
            self._crowd.records.kept[(case.image, self._name)] = digest

    async def _look_around(self, caller: Caller) -> None:
        if self._rng.random() < 0.5:
            await caller.ask("GET /info/", "GET", "/info/")
        if self._rng.random() < 0.5:
            await caller.ask("GET /datastore/", "GET", "/datastore/")
        if self._rng.random() < 0.02:
            await caller.ask("GET /datastore/ all", "GET", "/datastore/?output=all")
        await self._think()

    async def _think(self) -> None:
        await asyncio.sleep(self._rng.expovariate(1 / self._crowd.plan.think_s))
