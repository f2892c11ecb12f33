"""Shapes of the answers. Fields that have nothing to say are left out."""

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from server.wire.options import Option

TRAIN_STATS: Final = (
    "While a training runs: best_metric is the lesion F1 at even odds after the last epoch;"
    " once its version was judged: the volume F1 at the margin that was chosen for it"
)
"""What the figures of a training are measured at, for clients."""


class Answer(BaseModel):
    """Base of the answers; a field that is None is left out."""

    model_config = ConfigDict(from_attributes=True, protected_namespaces=())

    @model_serializer(mode="wrap")
    def _without_none(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value is not None}


class DescriptionOut(Answer):
    """Something a client can choose, with the options it can set."""

    description: str
    config: dict[str, Option] | None = None


class ModelOut(DescriptionOut):
    """A model that can predict."""

    type: str = "segmentation"
    labels: dict[str, int]
    dimension: int = 3


class StatsOut(Answer):
    """How far the pool is labeled."""

    total: int
    completed: int
    label_tags: dict[str, int]


class CoverageOut(Answer):
    """How far the images to label are scored by the active model version."""

    scored: int
    images: int
    share: float


class InfoOut(Answer):
    """What this server offers; the clients build their panels from it."""

    name: str
    description: str
    version: str
    labels: list[str]
    models: dict[str, ModelOut]
    trainers: dict[str, DescriptionOut]
    strategies: dict[str, DescriptionOut]
    scoring: dict[str, DescriptionOut]
    train_stats: dict[str, dict[str, Any]] = Field(description=TRAIN_STATS)
    datastore: StatsOut
    coverage: CoverageOut


class SampleOut(BaseModel):
    """The image a client should label next."""

    model_config = ConfigDict(extra="allow")

    id: str
    weight: float
    name: str
    ts: int
    checksum: str | None = None
    doubt: dict[str, Any] | None = Field(
        None, description="Which label would help most, calcium or regions; null: not known"
    )


class HeartbeatOut(Answer):
    """Whether an image lies with the client that works on it."""

    image: str
    is_held: bool


class TaskOut(Answer):
    """A job as clients see it."""

    id: str
    status: str = Field(description="RUNNING, DONE, ERROR or STOPPED")
    request: dict[str, Any]
    start_ts: str
    end_ts: str | None = None
    details: list[str]
    progress: float


class ImageOut(Answer):
    """The id of an image."""

    image: str


class SessionInfoOut(Answer):
    """A temporary image; its path is a name within the server's own folder."""

    name: str
    path: str
    image: str
    meta: dict[str, Any] = {}
    create_ts: int
    last_access_ts: int
    expiry: int


class SessionOut(Answer):
    """A new temporary image."""

    session_id: str
    session_info: SessionInfoOut


class ModelVersionOut(Answer):
    """The weights that answer now."""

    checksum: str
    modified_time: int
    version: int
    label_count: int
    train_stats: dict[str, Any] = Field(description=TRAIN_STATS)
    card: dict[str, Any]


class QuarantineOut(Answer):
    """A file or folder that could not be trusted, with the reason."""

    path: str
    problem: str
    seen_at: float


class RefusedSegmentationOut(Answer):
    """A DICOM segmentation that became no label, with the reason."""

    sop_uid: str
    origin: str
    problem: str
    seen_at: float


class WorkerOut(Answer):
    """A worker process and the age of its last sign of life."""

    id: str
    is_alive: bool
    seen_at: float


class PacsOut(Answer):
    """The DICOMweb server as it was found last."""

    url: str
    is_reachable: bool
    reached_at: float | None = None
    failed_at: float | None = Field(None, description="When it began not to answer")
    problem: str
    synced_at: float | None = Field(None, description="When all its series were looked at last")
    exports_waiting: int
    exports_failed: int


class StateOut(Answer):
    """The answer to a machine, which looks at the status code."""

    status: str


class HealthOut(Answer):
    """Whether the parts of the server are up."""

    status: str = Field(description="`ok`, `no worker` or `not ready`")
    is_ready: bool = Field(description="Whether labels can be stored")
    missing: list[str] = Field(description="What is wrong, each in a sentence")
    free_bytes: int = Field(description="Room on the disk of the data folder")
    damaged_files: int = Field(description="Stored files that are not given out: `/quarantine`")
    version: str
    workers: list[WorkerOut]
    pacs: PacsOut | None = None


class AuthOut(Answer):
    """Whether clients have to log in, and in which realm."""

    enabled: bool
    client_id: str | None = None
    realm: str | None = None


class TokenOut(Answer):
    """A login."""

    access_token: str
    token_type: str = "Bearer"  # noqa: S105 - no password
    expires_in: int = Field(description="Seconds until it ends")


class UserOut(Answer):
    """Who asks."""

    username: str
    email: str = ""
    name: str
    roles: list[str]


class AuditOut(Answer):
    """One change: who did what to which thing, and when."""

    id: int
    at: float
    actor: str
    action: str
    subject: str
    change: dict[str, Any] = Field(description="What it was before and after")


class TrainPairOut(Answer):
    """A labeled image and its label, as names within the pool."""

    image: str
    label: str
