"""What a submission is answered with beside the ids that clients read."""

from typing import Any

from pydantic import BaseModel

from app.label_scores import LabelScores


class LabelOut(BaseModel):
    """The ids of a label and its image, which are the same, and its calcium.

    3D Slicer shows all of it as the details of its message, so what is not known is null and
    not left out.
    """

    image: str
    label: str
    calcium: dict[str, Any] | None
    difference: dict[str, Any] | None
    problem: str | None


def label_answer(image_id: str, scores: LabelScores) -> LabelOut:
    """Return the answer to a submission."""
    return LabelOut(
        image=image_id,
        label=image_id,
        calcium=scores.calcium,
        difference=scores.difference,
        problem=scores.problem or None,
    )
