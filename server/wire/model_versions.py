"""Shapes of model versions and of what is asked about them."""

from dataclasses import asdict
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from app.store.tables import Json, ModelVersionRow
from app.training.coverage import LaterCoverage
from server.wire.finite import finite
from server.wire.options import DEFAULT_CLIENT
from server.wire.schemas import Answer

Status = Literal["active", "waiting", "kept back", "former"]


class ChangeIn(BaseModel):
    """Who changes which version answers, and why."""

    model_config = ConfigDict(extra="ignore")

    client_id: str = Field(DEFAULT_CLIENT, max_length=200)
    reason: str = Field("", max_length=1000)


class PromotionIn(ChangeIn):
    """A promotion, perhaps only of a version over the one that was seen answering."""

    expected_active: int | None = Field(
        None, description="Version that answers now; 409 when another one does by then"
    )


class RollbackIn(ChangeIn):
    """A rollback; one that arrives twice goes back once."""

    expected_active: int = Field(
        description="Version to go back from; 409 when another one answers by then"
    )


class CoverageOut(Answer):
    """How many score intervals held, with exact bounds (95 %) of their share."""

    patients: int
    held: int
    share: float | None
    low: float
    high: float


class LaterCoverageOut(Answer):
    """How often the intervals of a version held on patients labeled after it was made."""

    level: float | None = Field(description="What they promise; null where there are none")
    labeled: CoverageOut = Field(description="All of them; most were chosen as doubtful")
    unbiased: CoverageOut = Field(
        description="Those that no strategy chose for what it promises: like the pool"
    )

    @classmethod
    def of(cls, found: LaterCoverage) -> Self:
        """Build the answer for a coverage."""
        return cls.model_validate(asdict(found))


class VersionOut(Answer):
    """A model version with everything that it can be traced by."""

    id: int
    status: Status
    reason: str
    created_at: float
    label_count: int
    job_id: str
    sha256: str
    parent: int | None = Field(None, description="Version that answered when it was trained")
    lineage: list[int] = Field(description="Versions that it came after, the nearest first")
    start: str | None = Field(None, description="Where its weights began")
    seed: int | None = None
    profile: str | None = None
    code_version: str | None = None
    snapshot_sha256: str | None = Field(None, description="Hash of the labels and images used")
    metrics: dict[str, Any] = Field(description="Figures on the validation patients")
    decision: dict[str, Any] | None = Field(None, description="What the comparison found")
    calibration: dict[str, Any] | None = Field(None, description="Of its score intervals")

    @classmethod
    def of(cls, row: ModelVersionRow, *, status: Status, lineage: list[int]) -> Self:
        """Build the answer for a row."""
        card: Json = finite(row.card)
        return cls(
            id=row.id,
            status=status,
            reason=row.reason,
            created_at=row.created_at,
            label_count=row.label_count,
            job_id=row.job_id,
            sha256=row.sha256,
            parent=row.parent_id,
            lineage=lineage,
            start=card.get("start"),
            seed=card.get("seed"),
            profile=card.get("profile"),
            code_version=card.get("code_version"),
            snapshot_sha256=card.get("snapshot_sha256"),
            metrics=card.get("metrics") or {},
            decision=finite(row.decision) if row.decision else None,
            calibration=finite(row.calibration) if row.calibration else None,
        )
