"""Rows of the application database.

Times are seconds since the epoch (UTC). Files are named by their SHA-256 in the file
store and are written before the row that names them.
"""

from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, LargeBinary, String, UniqueConstraint, false, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

Json = dict[str, Any]
"""A JSON object as clients sent it or as it goes out again; never opened by the store."""


class Base(DeclarativeBase):
    """Base of every table."""

    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads this attribute of the class
        Json: JSON,
        list[str]: JSON,
        list[float]: JSON,
        list[list[float]]: JSON,
    }


class ImageRow(Base):
    """One CT volume that can be labeled."""

    __tablename__ = "images"
    __table_args__ = (
        # Covers what the pool is made of, so that ranking never reads the wide rows.
        Index(
            "images_pool",
            *("missing_since", "registered_at", "id", "patient_key", "noise_sd_hu", "metal_mm3"),
        ),
        # As small as possible: counting the pool is part of every next sample.
        Index("images_missing_since", "missing_since"),
    )

    id: Mapped[str] = mapped_column(String(128), primary_key=True)
    source: Mapped[str] = mapped_column(String(16))  # "studies", "upload" or "dicomweb"
    kind: Mapped[str] = mapped_column(String(16))  # "dicom", "nifti", "nrrd", "metaimage"
    path: Mapped[str]  # in the studies folder, the file store or on the DICOMweb server
    name: Mapped[str]  # file name a client gets, unique, with a loadable extension
    signature: Mapped[str] = mapped_column(String(64))  # of the files' names, sizes and times
    content_sha256: Mapped[str] = mapped_column(String(64), index=True)
    file_sha256: Mapped[str] = mapped_column(String(64), default="")
    shape: Mapped[Json]  # {"z": int, "y": int, "x": int}
    affine: Mapped[list[list[float]]]  # voxel (x, y, z) to LPS mm, four rows
    kvp: Mapped[float | None]
    noise_sd_hu: Mapped[float | None]  # None where it cannot be measured, or never was
    metal_mm3: Mapped[float | None]  # None where it never was measured
    patient_key: Mapped[str] = mapped_column(String(64), index=True)
    patient_id: Mapped[str] = mapped_column(default="")
    study_uid: Mapped[str] = mapped_column(default="")
    series_uid: Mapped[str] = mapped_column(default="")
    study_date: Mapped[str] = mapped_column(default="")
    study_time: Mapped[str] = mapped_column(default="")
    modality: Mapped[str] = mapped_column(default="")
    info: Mapped[Json] = mapped_column(default=dict)
    registered_at: Mapped[float]
    missing_since: Mapped[float | None]  # its files are gone, or it was removed
    removed_at: Mapped[float | None]  # by a person; a scan does not bring it back
    labels: Mapped[list["LabelRow"]] = relationship(back_populates="image")


class QuarantineRow(Base):
    """A file or folder that could not be trusted, with the reason."""

    __tablename__ = "quarantine"

    path: Mapped[str] = mapped_column(primary_key=True)
    signature: Mapped[str] = mapped_column(String(64))
    problem: Mapped[str]
    seen_at: Mapped[float]


class LabelRow(Base):
    """One immutable version of a label; the highest version of a tag is the current one."""

    __tablename__ = "labels"
    __table_args__ = (
        UniqueConstraint("image_id", "tag", "version"),
        Index("labels_current", "tag", "deleted_at", "image_id"),
        # Few rows: whether any label was deleted is part of every next sample.
        Index(
            "labels_deleted",
            "deleted_at",
            sqlite_where=text("deleted_at IS NOT NULL"),
            postgresql_where=text("deleted_at IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"))
    tag: Mapped[str] = mapped_column(String(128))
    version: Mapped[int]
    sha256: Mapped[str] = mapped_column(String(64))  # canonical label map, .nrrd
    submitted_sha256: Mapped[str] = mapped_column(String(64))
    submitted_name: Mapped[str]
    covers_calcium: Mapped[bool]
    covers_regions: Mapped[bool]
    annotator: Mapped[str]
    info: Mapped[Json] = mapped_column(default=dict)
    scores: Mapped[Json | None] = mapped_column(default=None)  # calcium table of the label
    annotation_seconds: Mapped[float | None] = mapped_column(default=None)  # None: not known
    created_at: Mapped[float] = mapped_column(index=True)
    deleted_at: Mapped[float | None]
    image: Mapped[ImageRow] = relationship(back_populates="labels")


class ExportRow(Base):
    """A label version on its way to the PACS, as a segmentation and a report."""

    __tablename__ = "label_exports"
    __table_args__ = (Index("label_exports_due", "status", "next_at"),)

    label_id: Mapped[int] = mapped_column(ForeignKey("labels.id"), primary_key=True)
    status: Mapped[str] = mapped_column(String(16))  # waiting, done, failed, dropped
    attempts: Mapped[int] = mapped_column(default=0)
    refusals: Mapped[int] = mapped_column(default=0, server_default="0")  # of the attempts
    next_at: Mapped[float]  # not tried again before
    problem: Mapped[str] = mapped_column(default="")  # of the last attempt
    seg_uid: Mapped[str] = mapped_column(String(64), default="")  # SOPInstanceUID
    sr_uid: Mapped[str] = mapped_column(String(64), default="")  # SOPInstanceUID
    ended_at: Mapped[float | None]


class SegmentationRow(Base):
    """A DICOM segmentation that somebody stored, and the label it became."""

    __tablename__ = "segmentations"

    sop_uid: Mapped[str] = mapped_column(String(64), primary_key=True)
    origin: Mapped[str] = mapped_column(String(16))  # "pacs" or "stow"
    label_id: Mapped[int | None] = mapped_column(ForeignKey("labels.id"))
    problem: Mapped[str] = mapped_column(default="")  # why it became none
    seen_at: Mapped[float]


class PacsRow(Base):
    """How a DICOMweb server was doing when it was last asked."""

    __tablename__ = "pacs"

    url: Mapped[str] = mapped_column(primary_key=True)
    reached_at: Mapped[float | None]  # last answer
    failed_at: Mapped[float | None]  # first request without one since then
    problem: Mapped[str] = mapped_column(default="")  # of the last request without one
    synced_at: Mapped[float | None]  # last complete look for new series


class ModelVersionRow(Base):
    """An immutable trained network; at most one is active."""

    __tablename__ = "model_versions"
    __table_args__ = (
        Index(
            "model_versions_active",
            "is_active",
            unique=True,
            sqlite_where=text("is_active = 1"),
            postgresql_where=text("is_active"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(String(36), unique=True)
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("model_versions.id"))
    sha256: Mapped[str] = mapped_column(String(64))
    card: Mapped[Json]
    label_count: Mapped[int]
    is_active: Mapped[bool] = mapped_column(default=False)
    reason: Mapped[str] = mapped_column(default="")
    decision: Mapped[Json | None] = mapped_column(default=None)  # of app.promotion.gate
    calibration: Mapped[Json | None] = mapped_column(default=None)  # of its score intervals
    created_at: Mapped[float]


class ActivationRow(Base):
    """A model version began to answer; ``below_id`` is what a rollback goes back to."""

    __tablename__ = "activations"

    id: Mapped[int] = mapped_column(primary_key=True)
    model_version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    below_id: Mapped[int | None] = mapped_column(ForeignKey("activations.id"))
    at: Mapped[float]


class PatientSideRow(Base):
    """Whether a patient is for validation, decided with the first label and never again."""

    __tablename__ = "patient_sides"

    patient_key: Mapped[str] = mapped_column(String(64), primary_key=True)
    is_validation: Mapped[bool]
    decided_at: Mapped[float]


class PredictionRow(Base):
    """What one model version says about one image: a summary, and the file of its label map."""

    __tablename__ = "predictions"
    __table_args__ = (
        UniqueConstraint("image_id", "model_version_id", "key"),
        # Covers what the pool is ranked by, so that loading it never reads the wide rows.
        Index(
            "predictions_pool",
            *("model_version_id", "key", "id", "image_id", "has_candidates", "agatston"),
            *("clinical_uncertainty", "lesion_uncertainty", "foreground_uncertainty", "entropy"),
            *("entropy_lm", "entropy_lad", "entropy_lcx", "entropy_rca"),
            *("lesion_count", "slice_count"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"))
    model_version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"), index=True)
    key: Mapped[str] = mapped_column(String(128))  # see app.prediction_keys
    sha256: Mapped[str] = mapped_column(String(64))  # canonical label map, .nrrd
    scores: Mapped[Json]  # calcium table
    agatston_samples: Mapped[list[list[float]]]  # one row a sample, one column an artery
    agatston: Mapped[float]  # median of the totals
    clinical_uncertainty: Mapped[float]
    lesion_uncertainty: Mapped[float]
    region_uncertainty: Mapped[float]
    # Further measures of strategies.aggregation and strategies.uncertainty, by the same names.
    foreground_uncertainty: Mapped[float] = mapped_column(default=0.0, server_default="0")
    top_uncertainty: Mapped[float] = mapped_column(default=0.0, server_default="0")
    pairwise_dice: Mapped[float] = mapped_column(default=0.0, server_default="0")
    category_entropy: Mapped[float] = mapped_column(default=0.0, server_default="0")
    entropy: Mapped[float] = mapped_column(default=0.0, server_default="0")
    entropy_lm: Mapped[float] = mapped_column(default=0.0, server_default="0")
    entropy_lad: Mapped[float] = mapped_column(default=0.0, server_default="0")
    entropy_lcx: Mapped[float] = mapped_column(default=0.0, server_default="0")
    entropy_rca: Mapped[float] = mapped_column(default=0.0, server_default="0")
    # Shares of the score's variance that one head's masks alone bring about; both 0 without
    # any, and unknown where too few samples were drawn.
    lesion_share: Mapped[float | None]
    region_share: Mapped[float | None]
    has_candidates: Mapped[bool]
    lesion_count: Mapped[int] = mapped_column(default=0, server_default="0")
    slice_count: Mapped[int] = mapped_column(default=0, server_default="0")  # with calcium
    embedding: Mapped[bytes] = mapped_column(LargeBinary)  # float32
    seconds: Mapped[float]
    created_at: Mapped[float]


class PoolChangeRow(Base):
    """A change of the pool that no id or time tells of; written by triggers alone."""

    __tablename__ = "pool_changes"

    id: Mapped[int] = mapped_column(primary_key=True)


class LeaseRow(Base):
    """A sample that lies with a client; an image has at most one open lease."""

    __tablename__ = "leases"
    __table_args__ = (
        Index(
            "leases_open",
            "image_id",
            unique=True,
            sqlite_where=text("released_at IS NULL"),
            postgresql_where=text("released_at IS NULL"),
        ),
        Index("leases_of_client", "client_id", "outcome", "image_id"),
        Index("leases_of_image", "image_id", "served_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"))
    strategy: Mapped[str] = mapped_column(String(64))
    client_id: Mapped[str]
    served_at: Mapped[float]
    expires_at: Mapped[float]
    released_at: Mapped[float | None]
    outcome: Mapped[str] = mapped_column(String(16), default="")  # submitted, skipped, expired
    is_random: Mapped[bool] = mapped_column(default=False, server_default=false())  # of the quota
    # What was known when it was served; None where the active version had not scored the image.
    model_version_id: Mapped[int | None]
    lesion_count: Mapped[int | None]
    slice_count: Mapped[int | None]
    seen_at: Mapped[float | None]  # last request of the client about the image
    active_seconds: Mapped[float] = mapped_column(default=0.0, server_default="0")  # up to then


class JobRow(Base):
    """A unit of background work as people see it."""

    __tablename__ = "jobs"
    __table_args__ = (Index("jobs_kind_status", "kind", "status"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))  # scan, train, score, predict, evaluate
    status: Mapped[str] = mapped_column(String(16))  # queued, running, done, failed, canceled
    request: Mapped[Json]
    result: Mapped[Json] = mapped_column(default=dict)
    progress: Mapped[float] = mapped_column(default=0.0)  # 0 to 1
    details: Mapped[list[str]] = mapped_column(default=list)  # last lines for people
    is_cancel_requested: Mapped[bool] = mapped_column(default=False)
    is_dispatched: Mapped[bool] = mapped_column(default=False)
    worker_id: Mapped[str] = mapped_column(default="")
    attempts: Mapped[int] = mapped_column(default=0, server_default="0")  # since it got further
    reached: Mapped[float] = mapped_column(default=0.0, server_default="0")  # stage and fraction
    created_at: Mapped[float]
    started_at: Mapped[float | None]
    ended_at: Mapped[float | None]


class WorkerRow(Base):
    """The last sign of life of a worker process."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    seen_at: Mapped[float]
    started_at: Mapped[float]


class SessionRow(Base):
    """A temporary image that is not part of the pool."""

    __tablename__ = "sessions"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str]  # of the single file; empty for a folder of several
    created_at: Mapped[float]
    last_access_at: Mapped[float]
    expiry_s: Mapped[float]


class AuditRow(Base):
    """One change: who did what to which thing, and when."""

    __tablename__ = "audit_events"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[float] = mapped_column(index=True)
    actor: Mapped[str]
    action: Mapped[str] = mapped_column(String(32))
    subject: Mapped[str]
    change: Mapped[Json] = mapped_column(default=dict)
