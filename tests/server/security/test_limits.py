"""How often somebody may ask."""

import pytest
from fastapi import FastAPI

from app.access.roles import Role
from app.settings import Settings
from server.security.limits import RateLimit, household
from tests.server.security.conftest import PASSWORD, GuardedSite, guarding


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_minutes_worth_may_come_at_once_and_then_its_share() -> None:
    clock = Clock()
    limit = RateLimit(6, clock=clock)
    assert [limit.wait_s("a") for _ in range(6)] == [0.0] * 6
    # Six a minute: one each ten seconds.
    assert limit.wait_s("a") == pytest.approx(10.0)
    assert limit.wait_s("b") == 0.0
    clock.now += 9.0
    assert limit.wait_s("a") == pytest.approx(1.0)
    clock.now += 1.0
    assert limit.wait_s("a") == 0.0
    assert limit.wait_s("a") > 0.0


def test_who_was_refused_is_not_punished_for_trying() -> None:
    clock = Clock()
    limit = RateLimit(1, clock=clock)
    limit.wait_s("a")
    for _ in range(100):
        assert limit.wait_s("a") > 0.0
    clock.now += 60.0
    assert limit.wait_s("a") == 0.0


def test_no_rate_is_no_limit() -> None:
    limit = RateLimit(0)
    assert {limit.wait_s("a") for _ in range(1000)} == {0.0}


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("testclient", "testclient"),
    ],
)
def test_a_host_is_one_client_whatever_address_it_takes(address: str, counted: str) -> None:
    assert household(address) == counted


def try_login(site: GuardedSite, name: str) -> int:
    form = {"username": name, "password": "wrong password"}
    return site.client.post("/auth/token", data=form).status_code


def test_logins_of_one_address_are_limited(
    guarded_application: FastAPI, settings: Settings
) -> None:
    with guarding(guarded_application, settings, login_rate=3) as site:
        assert [try_login(site, f"name-{number}") for number in range(4)] == [401, 401, 401, 429]
        form = {"username": "user", "password": PASSWORD}
        answer = site.client.post("/login", data=form)
        assert answer.status_code == 429
        # Three a minute: one each twenty seconds.
        assert 1 <= int(answer.headers["retry-after"]) <= 20
        # Whoever has a key is not slowed down by it.
        assert site.client.get("/info/", headers=site.as_role(Role.USER)).status_code == 200


def test_tries_of_one_name_from_many_addresses_are_limited(guarded: GuardedSite) -> None:
    guard = guarded.services.guard
    guard._name_limit = RateLimit(3)
    assert [try_login(guarded, "Admin") for _ in range(4)] == [401, 401, 401, 429]
    assert try_login(guarded, "user") == 401


@pytest.mark.parametrize(
    ("rate", "method", "path"),
    [
        ("upload_rate", "PUT", "/datastore/label?image=a"),
        ("upload_rate", "PUT", "/session/"),
        ("infer_rate", "POST", "/infer/calcium?image=a"),
    ],
)
def test_uploads_and_predictions_of_one_user_are_limited(
    guarded_application: FastAPI, settings: Settings, rate: str, method: str, path: str
) -> None:
    with guarding(guarded_application, settings, **{rate: 2}) as site:
        statuses = [
            site.client.request(method, path, headers=site.as_role(Role.ANNOTATOR))
            for _ in range(3)
        ]
        assert [answer.status_code == 429 for answer in statuses] == [False, False, True]
        assert int(statuses[-1].headers["retry-after"]) >= 1
        other = site.client.request(method, path, headers=site.as_role(Role.ADMIN))
        assert other.status_code != 429


def test_a_login_may_not_send_much(guarded: GuardedSite) -> None:
    form = {"username": "user", "password": "x" * 20_000}
    assert guarded.client.post("/auth/token", data=form).status_code == 413

    def endless() -> object:
        yield b"username=user&password="
        for _ in range(200):
            yield b"x" * 1000

    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = guarded.client.post("/auth/token", content=endless(), headers=headers)  # type: ignore[arg-type]  # a generator of bytes
    assert answer.status_code in {401, 413, 422}
    assert all(len(kept) < 20_000 for kept in guarded.hasher.asked)
