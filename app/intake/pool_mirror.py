"""The unlabeled images as a strategy sees them, kept in memory between requests.

Loading 100 000 images takes a second, so each process keeps a mirror and reads only what
has come since: rows have rising ids, and images and deletions have times. What else can
change, a patient, a prediction that is deleted, an image that comes back, is counted by
triggers of the database (migration 0007), and everything is loaded anew. The mirror decides
nothing: whoever takes an image from it checks the row before leasing it, and an empty answer
is asked again of a fresh one.

Concurrency: any thread; one lock around each use, held while nothing else is waited for.
Pools that were handed out are never changed.
"""

import threading
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, RowMapping, bindparam, func, select

from app.imaging.artefacts import is_spoilt
from app.intake.pool import FINAL_TAG
from app.intake.ranked_images import MEASURES, RankedImages
from app.store.tables import (
    ActivationRow,
    ImageRow,
    LabelRow,
    LeaseRow,
    ModelVersionRow,
    PoolChangeRow,
    PredictionRow,
)
from strategies.base import Candidates

_OVERLAP: Final = 64
"""Newest rows that are read again: PostgreSQL may show a row after one with a higher id."""

_RECOUNT_S: Final = 5.0
"""Pause between two counts of the images, which find what came with a time before the newest."""

NO_VERSION: Final = 0
"""Stands for the model version while there is none."""

# Built once: building a statement takes longer than running it.
ACTIVE: Final = select(ModelVersionRow.id).where(ModelVersionRow.is_active)

_STATE: Final = select(
    select(func.count(PoolChangeRow.id)).scalar_subquery().label("change_count"),
    select(func.max(PoolChangeRow.id)).scalar_subquery().label("last_change"),
    select(func.max(ImageRow.missing_since)).scalar_subquery().label("gone_at"),
    ACTIVE.scalar_subquery().label("version"),
    select(ActivationRow.at)
    .order_by(ActivationRow.id.desc())
    .limit(1)
    .scalar_subquery()
    .label("answers_since"),
    # The index labels_deleted has no other rows.
    select(func.max(LabelRow.deleted_at))
    .where(LabelRow.deleted_at.is_not(None))
    .scalar_subquery()
    .label("unlabeled_at"),
    # A deletion that waited for another one, or for a clock, has an older time than the newest.
    select(func.count())
    .where(LabelRow.deleted_at.is_not(None))
    .scalar_subquery()
    .label("unlabeled_count"),
    select(func.max(PredictionRow.id)).scalar_subquery().label("prediction"),
    select(func.max(LabelRow.id)).scalar_subquery().label("label"),
    select(func.max(LeaseRow.id)).scalar_subquery().label("lease"),
)
"""What tells whether anything else has to be read."""

_IMAGES: Final = (
    select(
        ImageRow.id,
        ImageRow.patient_key,
        ImageRow.registered_at,
        ImageRow.noise_sd_hu,
        ImageRow.metal_mm3,
    )
    .where(ImageRow.missing_since.is_(None), ImageRow.registered_at >= bindparam("since"))
    .order_by(ImageRow.registered_at, ImageRow.id)
)

_PRESENT: Final = select(func.count()).where(ImageRow.missing_since.is_(None))

_PREDICTIONS: Final = (
    select(
        PredictionRow.id,
        PredictionRow.image_id,
        PredictionRow.has_candidates,
        *(getattr(PredictionRow, name) for name in MEASURES),
    )
    .where(
        PredictionRow.model_version_id == bindparam("version"),
        PredictionRow.key == bindparam("key"),
        PredictionRow.id > bindparam("after"),
    )
    .order_by(PredictionRow.id)
)

# By id alone, which is a short range; by tag, every label would be gone through.
_LABELS: Final = (
    select(
        LabelRow.id,
        LabelRow.image_id,
        LabelRow.tag,
        LabelRow.deleted_at,
        LabelRow.created_at,
        LabelRow.annotator,
    )
    .where(LabelRow.id > bindparam("after"))
    .order_by(LabelRow.id)
)

_LEASES: Final = (
    select(LeaseRow.id, LeaseRow.image_id, LeaseRow.served_at, LeaseRow.model_version_id)
    .where(LeaseRow.id > bindparam("after"))
    .order_by(LeaseRow.id)
)


@dataclass(frozen=True, eq=False)
class Pool:
    """The images a strategy may rank, longest there first.

    Attributes:
        images: All images of the mirror, N of them.
        is_open: Those that may be served, shape (N,).
        batch: Places of the images of the batch: served since the active model version answers
            and labeled or leased, or labeled since then by somebody whom nobody served them; a
            label of a person under another tag than the final one counts here, too.
        is_labeled: Those with a final label, shape (N,).
        last_served: When each was served last, -inf for never, shape (N,).
    """

    images: RankedImages
    is_open: NDArray[np.bool_]
    batch: NDArray[np.int64]
    is_labeled: NDArray[np.bool_]
    last_served: NDArray[np.float64]

    @property
    def candidates(self) -> Candidates:
        """What a strategy sees of the images."""
        return self.images.candidates


class PoolMirror:
    """The images that are not missing, with what is known of each."""

    def __init__(self, key: str) -> None:
        """Start empty; the first ``refresh`` loads everything.

        Args:
            key: Key of the predictions that count; made under other settings, they do not
                compare.
        """
        self._key = key
        self._lock = threading.Lock()
        self._clear()

    def _clear(self) -> None:
        self._ids: list[str] = []
        self._place: dict[str, int] = {}
        self._patients: dict[str, int] = {}
        self._patient = np.empty(0, np.int64)
        self._measures = np.empty((len(MEASURES), 0), np.float64)
        self._has_candidates = np.empty(0, np.bool_)
        self._has_artefact = np.empty(0, np.bool_)
        self._prediction = np.empty(0, np.int64)
        self._is_labeled = np.empty(0, np.bool_)
        self._labeled_at = np.empty(0, np.float64)
        self._answers_since = -np.inf
        self._served_at = np.empty(0, np.float64)
        self._served_by = np.empty(0, np.int64)
        self._registered_at = -np.inf
        self._gone_at: float | None = None
        self._counted_at = -np.inf
        self._changes: tuple[int, int | None] | None = None
        self._unlabeled: tuple[int, float | None] = (0, None)
        self._version = NO_VERSION
        self._step = 0
        self._last_prediction = self._last_label = self._last_lease = 0
        self._seen: dict[str, int | None] = {}
        self._ranked: RankedImages | None = None
        self._unranked = 0

    def pool(
        self,
        connection: Connection,
        leased: Collection[str] = (),
        unwanted: Collection[str] = (),
    ) -> Pool:
        """Bring the mirror up to date and return the pool.

        Args:
            connection: Where to read what is new.
            leased: Images that lie with a client.
            unwanted: Images to leave out unless nothing else is left.
        """
        with self._lock:
            self._refresh(connection)
            is_free = ~self._is_labeled
            is_free[leased_places := self._places(leased)] = False
            is_wanted = is_free.copy()
            is_wanted[self._places(unwanted)] = False
            is_taken = self._is_labeled.copy()
            is_taken[leased_places] = True
            is_of_batch = is_taken & (self._served_by == self._version)
            is_of_batch |= self._labeled_at > self._answers_since
            return Pool(
                self._ranked_images(),
                is_wanted if is_wanted.any() else is_free,
                np.flatnonzero(is_of_batch),
                self._is_labeled.copy(),
                self._served_at.copy(),
            )

    def _ranked_images(self) -> RankedImages:
        """Return what strategies rank; the same again until a hundredth of it has changed.

        While a pool is being scored, something changes with every request. An image whose
        score is not in yet counts as unscored for that long, at most until all are scored.
        """
        known = self._ranked
        is_other = known is None or known.ids is not self._ids or known.version != self._version
        if known is None or is_other or self._unranked > known.slack or self._is_whole(known):
            self._unranked = 0
            self._ranked = known = RankedImages(
                ids=self._ids,
                patient=self._patient.copy(),
                measures=self._measures.copy(),
                has_candidates=self._has_candidates.copy(),
                has_artefact=self._has_artefact,
                prediction=self._prediction.copy(),
                version=self._version,
                key=self._key,
                step=self._step,
                earlier=known.earlier if known is not None and known.ids is self._ids else {},
            )
        return known

    def _is_whole(self, known: RankedImages) -> bool:
        """Tell whether the last scores are in that what is ranked lacks."""
        if not self._unranked or not (self._prediction > 0).all():
            return False
        return not known.candidates.is_scored.all()

    def has_ranking(self, version: int, strategy: str) -> bool:
        """Tell whether a strategy has ranked the pool by a model version; waits for nothing."""
        known = self._ranked
        ranked = () if known is None or known.version != version else tuple(known.rankings)
        return any(isinstance(key, tuple) and key[0] == strategy for key in ranked)

    def _places(self, image_ids: Iterable[str]) -> list[int]:
        return [self._place[image_id] for image_id in image_ids if image_id in self._place]

    def _refresh(self, connection: Connection) -> None:
        state = connection.execute(_STATE).mappings().one()
        changes = (state["change_count"], state["last_change"])
        if changes != self._changes or not self._add_images(connection, state["gone_at"]):
            self._clear()
            self._changes = changes
            self._add_images(connection, state["gone_at"])
        self._add_predictions(connection, state)
        self._add_labels(connection, state)
        self._add_leases(connection, state)

    def _add_images(self, connection: Connection, gone_at: float | None) -> bool:
        """Add new images; False when some are gone or came back, and all must be loaded."""
        known = self._gone_at if self._ids else gone_at
        rows = connection.execute(_IMAGES, {"since": self._registered_at}).all()
        new = [row for row in rows if row[0] not in self._place]
        # One as old as the newest before may have come back, with labels from long ago.
        is_newer = not new or new[0][2] > self._registered_at
        self._append(new)
        self._gone_at = gone_at
        return is_newer and known == gone_at and self._has_all(connection)

    def _has_all(self, connection: Connection) -> bool:
        """Tell whether no image came unnoticed; counting takes long, so it is done seldom."""
        if time.monotonic() - self._counted_at < _RECOUNT_S:
            return True
        self._counted_at = time.monotonic()
        return connection.scalar(_PRESENT) == len(self._ids)

    def _append(self, rows: list[Any]) -> None:
        if not rows:
            return
        numbers = [self._patients.setdefault(row[1], len(self._patients)) for row in rows]
        # A new list: pools that were handed out keep the old one.
        self._ids = [*self._ids, *(row[0] for row in rows)]
        self._place |= {row[0]: len(self._place) + nth for nth, row in enumerate(rows)}
        self._registered_at = rows[-1][2]
        count = len(rows)
        self._patient = np.append(self._patient, np.array(numbers, np.int64))
        unknown = np.full((len(MEASURES), count), np.nan)
        self._measures = np.concatenate([self._measures, unknown], axis=1)
        self._has_candidates = np.append(self._has_candidates, np.zeros(count, np.bool_))
        is_flagged = np.array([is_spoilt(row[3], row[4]) for row in rows], np.bool_)
        self._has_artefact = np.append(self._has_artefact, is_flagged)
        self._prediction = np.append(self._prediction, np.zeros(count, np.int64))
        self._is_labeled = np.append(self._is_labeled, np.zeros(count, np.bool_))
        self._labeled_at = np.append(self._labeled_at, np.full(count, -np.inf))
        self._served_at = np.append(self._served_at, np.full(count, -np.inf))
        self._served_by = np.append(self._served_by, np.full(count, -1, np.int64))

    def _add_predictions(self, connection: Connection, state: RowMapping) -> None:
        version = state["version"] or NO_VERSION
        if version != self._version:
            self._version, self._last_prediction = version, 0
            self._measures[:] = np.nan
            self._has_candidates[:] = False
            self._prediction[:] = 0
            earlier = select(func.count()).where(ModelVersionRow.id < version)
            self._step = connection.scalar(earlier) or 0
            self._seen["prediction"] = None
        if not self._is_new(connection, state, "prediction"):
            return
        after = self._last_prediction - _OVERLAP
        wanted = {"version": version, "key": self._key, "after": after}
        found = connection.execute(_PREDICTIONS, wanted).all()
        places, rows = self._known(found)
        if rows:
            ids = [row[0] for row in rows]
            self._unranked += int((self._prediction[places] != ids).sum())
            self._last_prediction = ids[-1]
            self._prediction[places] = ids
            self._has_candidates[places] = [row[2] for row in rows]
            self._measures[:, places] = np.array([row[3:] for row in rows]).T

    def _add_labels(self, connection: Connection, state: RowMapping) -> None:
        since = state["answers_since"]
        self._answers_since = -np.inf if since is None else since
        unlabeled = (state["unlabeled_count"], state["unlabeled_at"])
        if unlabeled != self._unlabeled:
            self._unlabeled, self._last_label = unlabeled, 0
            self._is_labeled[:] = False
            self._labeled_at[:] = -np.inf
            self._seen["label"] = None
        if not self._is_new(connection, state, "label"):
            return
        after = self._last_label - _OVERLAP
        places, rows = self._known(connection.execute(_LABELS, {"after": after}).all())
        if rows:
            self._last_label = rows[-1][0]
        for place, (_, _, tag, deleted_at, created_at, annotator) in zip(places, rows, strict=True):
            if deleted_at is not None:
                continue
            self._is_labeled[place] |= tag == FINAL_TAG
            # A prediction that is kept as a label has no annotator.
            if tag == FINAL_TAG or annotator:
                self._labeled_at[place] = max(self._labeled_at[place], created_at)

    def _add_leases(self, connection: Connection, state: RowMapping) -> None:
        if not self._is_new(connection, state, "lease"):
            return
        after = self._last_lease - _OVERLAP
        places, rows = self._known(connection.execute(_LEASES, {"after": after}).all())
        if rows:
            self._last_lease = rows[-1][0]
            self._served_at[places] = [row[2] for row in rows]
            self._served_by[places] = [row[3] or NO_VERSION for row in rows]

    def _is_new(self, connection: Connection, state: RowMapping, table: str) -> bool:
        """Tell whether a table may have rows that were not read; SQLite shows them in order."""
        last = state[table]
        is_known = connection.dialect.name == "sqlite" and self._seen.get(table) == last
        self._seen[table] = last
        return last is not None and not is_known

    def _known(self, found: Sequence[Any]) -> tuple[list[int], list[Any]]:
        """Return the rows of images that are not missing, and the places of these."""
        rows = [row for row in found if row[1] in self._place]
        return [self._place[row[1]] for row in rows], rows
