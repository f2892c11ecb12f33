import shutil
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from app import samples
from app.errors import InvalidInputError, NotFoundError
from app.model_versions import activate
from app.store.database import Database
from app.store.tables import ImageRow, LabelRow, LeaseRow
from strategies.registry import strategy_names
from tests.app.conftest import Deployment
from tests.app.pool import add_image, add_model_version, add_prediction, label_row

LEASE_S = 3600.0
"""How long a lease lasts by default: 60 minutes."""


def fill(deployment: Deployment, count: int) -> list[str]:
    ids = [f"image-{number:03d}" for number in range(count)]
    with deployment.database.writing() as session:
        for at, image_id in enumerate(ids):
            add_image(session, image_id, at=float(at))
    return ids


def ask(
    deployment: Deployment,
    *,
    strategy: str = "first",
    client: str = "user-xyz",
    now: float = 1000.0,
    options: Mapping[str, object] | None = None,
) -> str | None:
    with deployment.database.writing() as session:
        sample = samples.assign_next(
            session,
            strategy=strategy,
            client_id=client,
            options=options or {},
            settings=deployment.settings,
            now=now,
        )
        return sample.image.id if sample else None


def label(deployment: Deployment, image_id: str, tag: str = "final") -> None:
    with deployment.database.writing() as session:
        session.add(label_row(image_id, tag))


def leases(deployment: Deployment) -> list[LeaseRow]:
    with deployment.database.reading() as session:
        return list(session.scalars(select(LeaseRow).order_by(LeaseRow.id)))


@pytest.mark.parametrize("strategy", strategy_names())
class TestEveryStrategy:
    def test_serves_every_image_once_and_then_nothing(
        self, deployment: Deployment, strategy: str
    ) -> None:
        ids = fill(deployment, 5)
        served = [ask(deployment, strategy=strategy) for _ in range(7)]
        assert sorted(served[:5], key=str) == ids
        assert served[5:] == [None, None]

    def test_serves_nothing_of_an_empty_pool(self, deployment: Deployment, strategy: str) -> None:
        assert ask(deployment, strategy=strategy) is None


class TestPool:
    def test_leaves_out_labeled_missing_and_leased_images(self, deployment: Deployment) -> None:
        ids = fill(deployment, 5)
        label(deployment, ids[0])
        label(deployment, ids[1], tag="original")
        with deployment.database.writing() as session:
            session.get_one(ImageRow, ids[2]).missing_since = 1.0
        assert ask(deployment, client="other") == ids[1]
        assert [ask(deployment) for _ in range(3)] == [ids[3], ids[4], None]

    def test_serves_a_labeled_image_again_when_its_label_was_deleted(
        self, deployment: Deployment
    ) -> None:
        (image_id,) = fill(deployment, 1)
        label(deployment, image_id)
        assert ask(deployment) is None
        with deployment.database.writing() as session:
            session.scalars(select(LabelRow)).one().deleted_at = 1.0
        assert ask(deployment) == image_id

    def test_serves_an_image_that_came_back(self, deployment: Deployment) -> None:
        (image_id,) = fill(deployment, 1)
        with deployment.database.writing() as session:
            session.get_one(ImageRow, image_id).missing_since = 1.0
        assert ask(deployment) is None
        with deployment.database.writing() as session:
            session.get_one(ImageRow, image_id).missing_since = None
        assert ask(deployment) == image_id

    def test_serves_what_is_registered_while_clients_ask(self, deployment: Deployment) -> None:
        fill(deployment, 1)
        assert ask(deployment) == "image-000"
        with deployment.database.writing() as session:
            add_image(session, "new", at=50.0)
        assert ask(deployment) == "new"

    def test_serves_what_was_registered_in_the_same_transaction(
        self, deployment: Deployment
    ) -> None:
        with deployment.database.writing() as session:
            add_image(session, "new")
            sample = samples.assign_next(
                session,
                strategy="first",
                client_id="c",
                options={},
                settings=deployment.settings,
                now=1.0,
            )
        assert sample is not None
        assert sample.image.id == "new"

    def test_serves_longest_not_served_first(self, deployment: Deployment) -> None:
        ids = fill(deployment, 3)
        assert [ask(deployment, now=at) for at in (1.0, 2.0)] == ids[:2]
        # Both leases have expired at 5000; the image never served goes before them.
        assert [ask(deployment, now=5000.0) for _ in range(3)] == [ids[2], ids[0], ids[1]]


class TestRanking:
    def served(self, deployment: Deployment, rounds: int = 40) -> Counter[str | None]:
        """Count who is served first, over many draws of the random share."""
        first = Counter[str | None]()
        for at in range(rounds):
            now = at * 2 * LEASE_S
            first[ask(deployment, strategy="uncertainty", now=now)] += 1
        return first

    def test_prefers_uncertain_images(self, deployment: Deployment) -> None:
        ids = fill(deployment, 10)
        with deployment.database.writing() as session:
            version = add_model_version(session).id
            for rank, image_id in enumerate(ids):
                add_prediction(session, image_id, version, uncertainty=1.0 + rank)
        # One place in five is drawn at random: about 33 of 40 go to the most uncertain.
        assert self.served(deployment)[ids[-1]] >= 24

    def test_ranks_by_the_active_model_version_alone(self, deployment: Deployment) -> None:
        ids = fill(deployment, 10)
        with deployment.database.writing() as session:
            old, new = add_model_version(session, "old").id, add_model_version(session, "new").id
            for rank, image_id in enumerate(ids):
                add_prediction(session, image_id, old, uncertainty=1.0 + rank)
                add_prediction(session, image_id, new, uncertainty=100.0 - rank)
        assert self.served(deployment)[ids[0]] >= 24
        with deployment.database.writing() as session:
            activate(session, deployment.settings, old, actor="me", now=1.0, reason="test")
        assert self.served(deployment)[ids[-1]] >= 24

    def test_sees_predictions_that_come_in_between(self, deployment: Deployment) -> None:
        ids = fill(deployment, 10)
        with deployment.database.writing() as session:
            version = add_model_version(session).id
        ask(deployment, strategy="uncertainty", now=-1e6)
        with deployment.database.writing() as session:
            for rank, image_id in enumerate(ids):
                add_prediction(session, image_id, version, uncertainty=1.0 + rank)
        assert self.served(deployment)[ids[-1]] >= 24

    def test_reaches_images_without_a_score(self, deployment: Deployment) -> None:
        ids = fill(deployment, 2)
        with deployment.database.writing() as session:
            version = add_model_version(session).id
            add_prediction(session, ids[0], version, uncertainty=9.0)
        assert self.served(deployment)[ids[1]] > 0

    def test_draws_the_same_from_the_same_seed(
        self, deployment: Deployment, migrated_file: Path
    ) -> None:
        twin_file = shutil.copy(migrated_file, deployment.settings.data / "twin.sqlite")
        twin = replace(deployment, database=Database(f"sqlite:///{twin_file}"))
        drawn = []
        for each in (deployment, twin):
            fill(each, 20)
            drawn.append([ask(each, strategy="random") for _ in range(20)])
        twin.database.close()
        assert drawn[0] == drawn[1]
        assert drawn[0] != sorted(drawn[0], key=str)

    def test_refuses_an_unknown_strategy_and_names_the_known(self, deployment: Deployment) -> None:
        with pytest.raises(NotFoundError, match="no strategy 'magic'; known: uncertainty"):
            ask(deployment, strategy="magic")


class TestLease:
    def test_says_for_whom_and_until_when(self, deployment: Deployment) -> None:
        fill(deployment, 1)
        ask(deployment, client="anna", strategy="random", now=10.0)
        (lease,) = leases(deployment)
        assert (lease.client_id, lease.strategy) == ("anna", "random")
        assert (lease.served_at, lease.expires_at) == (10.0, 10.0 + LEASE_S)

    def test_two_clients_of_one_name_get_different_images(self, deployment: Deployment) -> None:
        ids = fill(deployment, 2)
        assert {ask(deployment), ask(deployment)} == set(ids)

    def test_expires(self, deployment: Deployment) -> None:
        (image_id,) = fill(deployment, 1)
        assert ask(deployment, now=0.0) == image_id
        assert ask(deployment, now=LEASE_S - 1) is None
        assert ask(deployment, now=LEASE_S) == image_id
        assert [lease.outcome for lease in leases(deployment)] == ["expired", ""]

    def test_can_be_released(self, deployment: Deployment) -> None:
        (image_id,) = fill(deployment, 1)
        ask(deployment, now=0.0)
        with deployment.database.writing() as session:
            assert samples.release(session, image_id, "skipped", now=5.0)
            assert not samples.release(session, image_id, "skipped", now=6.0)
        (lease,) = leases(deployment)
        assert (lease.released_at, lease.outcome) == (5.0, "skipped")

    def test_clients_that_ask_at_once_never_share(self, deployment: Deployment) -> None:
        ids = fill(deployment, 40)
        served: list[str | None] = []
        # More clients than the engine has connections.
        start = threading.Barrier(20)

        def ask_three_times() -> None:
            start.wait()
            served.extend(ask(deployment, strategy="random") for _ in range(3))

        threads = [threading.Thread(target=ask_three_times) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # Twenty clients ask three times each for forty images.
        assert Counter(served) == Counter(dict.fromkeys(ids, 1) | {None: 20})

    def test_nothing_that_was_rolled_back_counts(self, deployment: Deployment) -> None:
        (image_id,) = fill(deployment, 1)

        def label_ask_and_fail() -> None:
            with deployment.database.writing() as session:
                session.add(label_row(image_id))
                session.flush()
                assert (
                    samples.assign_next(
                        session,
                        strategy="first",
                        client_id="c",
                        options={},
                        settings=deployment.settings,
                        now=1.0,
                    )
                    is None
                )
                raise RuntimeError

        with pytest.raises(RuntimeError):
            label_ask_and_fail()
        assert ask(deployment) == image_id


class TestSkip:
    def test_gives_the_image_back_for_others_first(self, deployment: Deployment) -> None:
        ids = fill(deployment, 3)
        assert ask(deployment, client="anna", now=1.0) == ids[0]
        skip = {"skip": ids[0]}
        assert ask(deployment, client="anna", options=skip, now=2.0) == ids[1]
        assert ask(deployment, client="anna", now=3.0) == ids[2]
        # Nothing else is left for anna.
        assert ask(deployment, client="anna", now=4.0) == ids[0]
        assert [lease.outcome for lease in leases(deployment)] == ["skipped", "", "", ""]

    def test_gives_it_to_another_client(self, deployment: Deployment) -> None:
        ids = fill(deployment, 2)
        ask(deployment, client="anna")
        ask(deployment, client="anna", options={"skip": ids[0]})
        assert ask(deployment, client="bert") == ids[0]

    def test_does_not_touch_the_lease_of_another(self, deployment: Deployment) -> None:
        ids = fill(deployment, 2)
        assert ask(deployment, client="anna") == ids[0]
        assert ask(deployment, client="bert", options={"skip": ids[0]}) == ids[1]
        assert leases(deployment)[0].released_at is None

    def test_of_something_odd_is_refused(self, deployment: Deployment) -> None:
        fill(deployment, 1)
        with pytest.raises(InvalidInputError, match="skip"):
            ask(deployment, options={"skip": 5})
