"""Pitfalls of choosing images for people, each with the rule that avoids it."""

from collections import Counter

import numpy as np
import pytest
from sqlalchemy import select, update

from app import samples
from app.intake.shared_pool import is_ranked
from app.model_versions import activate
from app.samples import Sample
from app.sampling import progress
from app.store.tables import ImageRow, LabelRow, LeaseRow, ModelVersionRow, PredictionRow
from strategies.registry import get_strategy, strategy_names
from tests.app.conftest import Deployment
from tests.app.pool import KEY, add_image, add_model_version, add_prediction, label_row

LEARNING = [name for name in strategy_names() if get_strategy(name).options]
"""Strategies that ask a model."""


def fill(deployment: Deployment, patients: str) -> list[str]:
    """Add an image of each patient, named by its number."""
    ids = [f"image-{number:02d}" for number in range(len(patients))]
    with deployment.database.writing() as session:
        for at, image_id in enumerate(ids):
            add_image(session, image_id, patient=patients[at], at=float(at))
    return ids


def predict(deployment: Deployment, uncertainties: dict[str, float], version: int = 0) -> int:
    """Let a version, a new one by default, have predicted images; returns its id."""
    rng = np.random.default_rng(1)
    with deployment.database.writing() as session:
        if not version:
            count = len(session.scalars(select(ModelVersionRow)).all())
            version = add_model_version(session, f"job-{count + 1}").id
        for image_id, uncertainty in uncertainties.items():
            row = add_prediction(session, image_id, version, uncertainty=uncertainty)
            row.entropy = row.foreground_uncertainty = uncertainty
            row.entropy_lm = row.entropy_lad = row.entropy_lcx = row.entropy_rca = uncertainty
            wave = np.array([1.0, -1.0] * 4) * uncertainty
            row.agatston_samples = [[float(np.expm1(4 + at)), 0.0, 0.0, 0.0] for at in wave]
            row.embedding = rng.normal(size=3).astype("<f4").tobytes()
    return version


def ask(deployment: Deployment, strategy: str, at: float = 0.0, **options: float) -> Sample:
    with deployment.database.writing() as session:
        sample = samples.assign_next(
            session,
            strategy=strategy,
            client_id="anna",
            options={"random_share": 0.0, **options},
            settings=deployment.settings,
            now=at,
        )
    assert sample is not None
    return sample


def give_back(deployment: Deployment) -> None:
    """End every lease, as if it had never been: its image is not of the batch then."""
    with deployment.database.writing() as session:
        session.execute(update(LeaseRow).values(released_at=1.0, outcome="expired"))


@pytest.mark.parametrize("strategy", LEARNING)
class TestEveryStrategyThatAsksAModel:
    def test_a_patient_comes_once_in_a_batch(self, deployment: Deployment, strategy: str) -> None:
        ids = fill(deployment, "ppqr")
        predict(deployment, dict(zip(ids, [0.9, 0.9, 0.5, 0.4], strict=True)))
        served = [ask(deployment, strategy).image for _ in range(4)]
        # The second scan of patient p comes when nobody else is left.
        assert {image.patient_key for image in served[:3]} == {"p", "q", "r"}
        assert served[3].patient_key == "p"

    def test_a_patient_labeled_by_hand_is_of_the_batch(
        self, deployment: Deployment, strategy: str
    ) -> None:
        ids = fill(deployment, "ppqr")
        predict(deployment, dict(zip(ids, [0.9, 0.9, 0.5, 0.4], strict=True)))
        with deployment.database.writing() as session:
            session.add(label_row(ids[0], at=1.0))
        served = [ask(deployment, strategy).image for _ in range(3)]
        assert {image.patient_key for image in served[:2]} == {"q", "r"}
        assert served[2].id == ids[1]

    def test_an_image_without_candidates_is_not_first(
        self, deployment: Deployment, strategy: str
    ) -> None:
        ids = fill(deployment, "pqr")
        predict(deployment, dict(zip(ids, [0.3, 0.2, 0.0], strict=True)))
        with deployment.database.writing() as session:
            empty = update(PredictionRow).where(PredictionRow.image_id == ids[2])
            session.execute(empty.values(has_candidates=False, agatston=0.0))
        for at in range(10):
            assert ask(deployment, strategy, at=float(at)).image.id != ids[2]
            give_back(deployment)

    def test_predictions_of_an_earlier_version_are_not_ranked(
        self, deployment: Deployment, strategy: str
    ) -> None:
        ids = fill(deployment, "pqrs")
        predict(deployment, dict.fromkeys(ids, 0.1) | {ids[0]: 9.0})
        predict(deployment, {})
        sample = ask(deployment, strategy)
        assert (sample.coverage, sample.is_fallback, sample.lease.is_random) == (0.0, True, True)

    def test_predictions_under_other_settings_are_not_ranked(
        self, deployment: Deployment, strategy: str
    ) -> None:
        ids = fill(deployment, "pqrs")
        predict(deployment, dict.fromkeys(ids, 0.1) | {ids[0]: 9.0})
        with deployment.database.writing() as session:
            session.execute(update(PredictionRow).values(key="of a worker not yet restarted"))
        sample = ask(deployment, strategy)
        assert (sample.coverage, sample.is_fallback, sample.lease.is_random) == (0.0, True, True)

    def test_an_image_can_be_served_before_it_is_scored(
        self, deployment: Deployment, strategy: str
    ) -> None:
        ids = fill(deployment, "pqr")
        predict(deployment, dict.fromkeys(ids[:2], 0.5))
        first = Counter[str]()
        for at in range(60):
            first[ask(deployment, strategy, at=float(at)).image.id] += 1
            give_back(deployment)
        # A third of the pool is unscored: 20 of 60 draws are expected, 4 deviations are 15.
        assert 5 <= first[ids[2]] <= 35

    def test_a_project_without_a_model_serves_each_image(
        self, deployment: Deployment, strategy: str
    ) -> None:
        ids = fill(deployment, "pqrs")
        assert sorted(ask(deployment, strategy).image.id for _ in range(4)) == ids

    def test_the_same_seed_and_history_choose_the_same(
        self, deployment: Deployment, strategy: str
    ) -> None:
        ids = fill(deployment, "pqrstu")
        predict(deployment, {image_id: 0.1 + 0.1 * nth for nth, image_id in enumerate(ids)})

        def chosen() -> list[str]:
            with deployment.database.reading() as session:
                settings = deployment.settings
                return samples.upcoming(
                    session, count=4, settings=settings, now=0.0, strategy=strategy
                )

        assert chosen() == chosen()


class TestRanking:
    def test_a_shared_doubt_is_asked_once(self, deployment: Deployment) -> None:
        ids = fill(deployment, "abcdefgh")
        predict(deployment, dict.fromkeys(ids, 0.9))
        other = [1.0, 1.0, 1.0, 1.0, -1.0, -1.0, -1.0, -1.0]
        with deployment.database.writing() as session:
            for row in session.scalars(select(PredictionRow).where(PredictionRow.id > 4)):
                row.agatston_samples = [[float(np.expm1(4 + 0.8 * at)), 0, 0, 0] for at in other]
        first, second = (ask(deployment, "batch").image.id for _ in range(2))
        # The first four images vary together and most, the last four together otherwise.
        assert first in ids[:4]
        assert second in ids[4:]

    def test_versions_that_disagree_call_for_a_label(self, deployment: Deployment) -> None:
        ids = fill(deployment, "pqr")
        predict(deployment, dict.fromkeys(ids, 0.5))
        predict(deployment, dict.fromkeys(ids, 0.5))
        with deployment.database.writing() as session:
            before = update(PredictionRow).where(PredictionRow.id == 2)
            session.execute(before.values(agatston=900.0))
        assert ask(deployment, "ensemble").image.id == ids[1]

    def test_versions_that_were_kept_back_are_not_asked(self, deployment: Deployment) -> None:
        ids = fill(deployment, "pqr")
        predict(deployment, dict.fromkeys(ids, 0.5))
        with deployment.database.writing() as session:
            before = update(PredictionRow).where(PredictionRow.id == 2)
            session.execute(before.values(agatston=900.0))
            # As many as are asked at most; each saw the one validation image alone.
            for number in range(5):
                facts = {"sha256": "", "card": {}, "label_count": 1, "created_at": 0.0}
                kept = ModelVersionRow(job_id=f"kept-{number}", is_active=False, **facts)
                session.add(kept)
                session.flush()
                add_prediction(session, ids[0], kept.id, uncertainty=0.5)
        predict(deployment, dict.fromkeys(ids, 0.5))
        assert ask(deployment, "ensemble").image.id == ids[1]

    def test_versions_are_compared_under_the_same_settings(self, deployment: Deployment) -> None:
        ids = fill(deployment, "pqr")
        predict(deployment, dict(zip(ids, [0.1, 0.1, 0.9], strict=True)))
        with deployment.database.writing() as session:
            other = update(PredictionRow).where(PredictionRow.id == 2)
            session.execute(other.values(agatston=900.0, key="other"))
        predict(deployment, dict(zip(ids, [0.1, 0.1, 0.9], strict=True)))
        assert ask(deployment, "ensemble").image.id == ids[2]

    def test_variety_is_measured_from_what_is_labeled(self, deployment: Deployment) -> None:
        ids = fill(deployment, "pqrs")
        predict(deployment, dict.fromkeys(ids, 0.5))
        with deployment.database.writing() as session:
            for row in session.scalars(select(PredictionRow)):
                place = [0.0, 1.0, 8.0, 9.0][row.id - 1]
                row.embedding = np.array([place], "<f4").tobytes()
            session.add(label_row(ids[0]))
        assert ask(deployment, "diversity", outlier_share=0.0).image.id == ids[3]

    def test_before_a_model_scanners_are_told_apart(self, deployment: Deployment) -> None:
        ids = fill(deployment, "pqrst")
        with deployment.database.writing() as session:
            session.get_one(ImageRow, ids[3]).kvp = 80.0
        served = [ask(deployment, "diversity", outlier_share=0.0) for _ in range(2)]
        # Four images are alike, and typical; the one of another tube voltage is next.
        assert served[0].image.id != ids[3]
        assert served[1].image.id == ids[3]
        assert not served[0].is_fallback

    def test_before_a_model_what_is_labeled_by_hand_counts(self, deployment: Deployment) -> None:
        ids = fill(deployment, "pqrst")
        with deployment.database.writing() as session:
            session.get_one(ImageRow, ids[4]).kvp = 80.0
            session.add(label_row(ids[0]))
        # Three images are typical, but one like them is labeled; the farthest is next.
        assert ask(deployment, "diversity", outlier_share=0.0).image.id == ids[4]

    def test_a_doubt_settled_by_hand_is_not_asked(self, deployment: Deployment) -> None:
        ids = fill(deployment, "abcdefgh")
        predict(deployment, dict.fromkeys(ids, 0.9))
        other = [1.0, 1.0, 1.0, 1.0, -1.0, -1.0, -1.0, -1.0]
        with deployment.database.writing() as session:
            for row in session.scalars(select(PredictionRow).where(PredictionRow.id > 4)):
                row.agatston_samples = [[float(np.expm1(4 + 0.8 * at)), 0, 0, 0] for at in other]
            session.add(label_row(ids[0], at=1.0))
        # The first four vary together and most, but one of them is labeled.
        assert ask(deployment, "batch").image.id in ids[4:]

    def test_annotation_times_decide_what_is_worth_its_cost(self, deployment: Deployment) -> None:
        ids = fill(deployment, "pq")
        version = predict(deployment, dict(zip(ids, [0.4, 0.5], strict=True)))
        with deployment.database.writing() as session:
            costly = update(PredictionRow).where(PredictionRow.image_id == ids[1])
            session.execute(costly.values(lesion_count=60))
        # By published times 60 lesions take ten times as long; mean ranks are 1/2 and 1.
        assert ask(deployment, "cost_aware").image.id == ids[0]
        give_back(deployment)
        with deployment.database.writing() as session:
            for nth in range(40):
                facts = {"strategy": "s", "client_id": "c", "served_at": 0.0, "expires_at": 0.0}
                done = {"released_at": 1.0, "outcome": "submitted", "active_seconds": 60.0}
                seen = {"model_version_id": version, "lesion_count": nth, "slice_count": 0}
                session.add(LeaseRow(image_id=ids[0], **facts, **done, **seen))
        # Whatever is there takes a minute.
        assert ask(deployment, "cost_aware").image.id == ids[1]


class TestWhatIsKeptWithALease:
    def test_is_what_was_known_when_it_was_served(self, deployment: Deployment) -> None:
        (image_id,) = fill(deployment, "p")
        version = predict(deployment, {image_id: 0.5})
        with deployment.database.writing() as session:
            session.execute(update(PredictionRow).values(lesion_count=3, slice_count=7))
        lease = ask(deployment, "uncertainty").lease
        assert (lease.model_version_id, lease.lesion_count, lease.slice_count) == (version, 3, 7)
        assert not lease.is_random

    def test_of_the_quota_it_is_marked(self, deployment: Deployment) -> None:
        (image_id,) = fill(deployment, "p")
        predict(deployment, {image_id: 0.5})
        assert ask(deployment, "uncertainty", random_share=1.0).lease.is_random


def test_a_batch_ends_when_another_version_answers(deployment: Deployment) -> None:
    ids = fill(deployment, "ppq")
    predict(deployment, dict(zip(ids, [0.9, 0.8, 0.1], strict=True)))
    assert ask(deployment, "uncertainty").image.id == ids[0]
    with deployment.database.writing() as session:
        session.add(label_row(ids[0]))
    predict(deployment, dict(zip(ids, [0.9, 0.8, 0.1], strict=True)))
    assert ask(deployment, "uncertainty").image.id == ids[1]


def test_coverage_counts_what_is_left_to_label(deployment: Deployment) -> None:
    ids = fill(deployment, "pqrs")
    predict(deployment, dict.fromkeys(ids[:2], 0.5))
    with deployment.database.writing() as session:
        session.add(label_row(ids[0]))
    with deployment.database.reading() as session:
        found = progress.coverage(session, deployment.settings)
    assert (found.scored, found.images) == (1, 3)


def test_a_rollback_ranks_by_the_scores_of_the_version_that_answers_again(
    deployment: Deployment,
) -> None:
    ids = fill(deployment, "pq")
    first = predict(deployment, dict(zip(ids, [0.9, 0.1], strict=True)))
    predict(deployment, dict(zip(ids, [0.1, 0.9], strict=True)))
    assert ask(deployment, "uncertainty").image.id == ids[1]
    give_back(deployment)
    with deployment.database.writing() as session:
        activate(session, deployment.settings, first, actor="test", now=5.0, reason="rollback")
    assert ask(deployment, "uncertainty").image.id == ids[0]


def test_annotation_times_are_summed_up(deployment: Deployment) -> None:
    ids = fill(deployment, "pqr")
    with deployment.database.writing() as session:
        for image_id, seconds in zip(ids, [30.0, None, 90.0], strict=True):
            label: LabelRow = label_row(image_id)
            label.annotation_seconds = seconds
            session.add(label)
    with deployment.database.reading() as session:
        times = progress.annotation_times(session)
    assert (times.labels, times.median_s, times.total_s) == (2, 60.0, 120.0)
    assert times.expected.cases == 0


def test_a_pool_that_was_ranked_ahead_is_not_ranked_again(deployment: Deployment) -> None:
    ids = fill(deployment, "pq")
    predict(deployment, dict(zip(ids, [0.9, 0.1], strict=True)))
    with deployment.database.reading() as session:
        assert not is_ranked(session, KEY, "uncertainty")
        samples.rank_ahead(session, deployment.settings, strategy="uncertainty", options={})
        assert is_ranked(session, KEY, "uncertainty")
        assert not is_ranked(session, KEY, "entropy")
    assert ask(deployment, "uncertainty").image.id == ids[0]
    predict(deployment, dict(zip(ids, [0.1, 0.9], strict=True)))
    with deployment.database.reading() as session:
        assert not is_ranked(session, KEY, "uncertainty")
