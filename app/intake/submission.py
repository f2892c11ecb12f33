"""A label on its way in: checked and scored outside of any transaction, then kept in one.

Every label takes this road, whether an annotator sends it or it comes with a data set: it is
checked against its image, scored on it, and a final one ends the lease of its image, counts for
the next training and goes to the DICOMweb server.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app import inference, label_scores, labels
from app.intake.label_check import CheckedLabel
from app.intake.label_versions import StoredLabel, put_files
from app.intake.pool import FINAL_TAG, get_image
from app.label_scores import LabelScores, score_label
from app.pacs.segmentations import note_submitted
from app.settings import Settings
from app.store.database import Database
from app.store.files import FileStore
from app.store.tables import LabelRow


@dataclass(frozen=True)
class Submission:
    """A label as somebody hands it in.

    Attributes:
        image_id: Image that was labeled.
        content: The file as it came.
        file_name: Its name; only the ending counts.
        params: What the client says about it; ``label_info`` lists its segments in order.
        annotator: Who made it; empty for a prediction.
        tag: ``final`` for what counts, anything else for what is only kept.
        needs_names: Whether values without names are refused instead of taken for canonical.
    """

    image_id: str
    content: bytes
    file_name: str
    params: Mapping[str, object]
    annotator: str
    tag: str = FINAL_TAG
    needs_names: bool = False


@dataclass(frozen=True)
class ReadyLabel:
    """A label that only has to be kept.

    Attributes:
        checked: The label, which fits its image.
        scores: What its calcium amounts to.
        stored: Its files on disk; None where they are to be put there when it is kept.
    """

    checked: CheckedLabel
    scores: LabelScores
    stored: StoredLabel | None = None


def submit(
    database: Database, files: FileStore, settings: Settings, label: Submission, *, now: float
) -> tuple[LabelRow, LabelScores]:
    """Check a label against its image and score it, then keep it as a new version.

    Only keeping holds others back.

    Raises:
        NotFoundError: If there is no such image.
        InvalidInputError: If the tag is not allowed, or a verdict cannot be read under it.
        LabelError: If the label does not fit its image; nothing is stored then.
    """
    ready = prepare(database, files, settings, label)
    with database.writing() as session:
        row = keep(session, files, settings, label, ready, now=now)
    return row, ready.scores


def prepare(
    database: Database, files: FileStore, settings: Settings, label: Submission
) -> ReadyLabel:
    """Do the slow part of ``submit``: check, score, and write the files, after all checks."""
    with database.reading() as session:
        checked = labels.check_submission(
            session,
            image_id=label.image_id,
            content=label.content,
            file_name=label.file_name,
            params=label.params,
            needs_names=label.needs_names,
        )
        image = get_image(session, label.image_id)
        prediction = inference.find_prediction(session, label.image_id)
    labels.check_tag(checked, label.tag)
    scores = score_label(settings, files, image, checked, prediction)
    return ReadyLabel(checked, scores, put_files(files, checked))


def keep(
    session: Session,
    files: FileStore,
    settings: Settings,
    label: Submission,
    ready: ReadyLabel,
    *,
    now: float,
) -> LabelRow:
    """Do the quick part of ``submit``, in an open transaction."""
    row = labels.keep_submission(
        session,
        settings,
        ready.stored or put_files(files, ready.checked),
        image_id=label.image_id,
        tag=label.tag,
        annotator=label.annotator,
        now=now,
    )
    label_scores.keep(row, ready.scores)
    note_submitted(session, row, label.content, now=now)
    return row
