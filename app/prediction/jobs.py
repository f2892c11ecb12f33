"""Jobs that predict: an image for a client who waits, chunks of the pool, a batch on request."""

import logging

from app import images, labels, model_versions, sessions
from app.arrays import LABEL_EXTENSION, axial_image
from app.background.work import Progress, Units, WorkContext
from app.calcium.labels import LABELS
from app.errors import CacLabelError, DamagedFileError, DamagedWeightsError, InvalidInputError
from app.imaging.reader import read_volume
from app.intake.identifiers import for_log
from app.integrity.damage import note_damage
from app.memory import memory_needed
from app.prediction.devices import predict_with_room
from app.prediction.rows import encode_label_map, find_row, predict_pool_image
from app.prediction_keys import prediction_key
from app.store.tables import JobRow, Json, ModelVersionRow

logger = logging.getLogger(__name__)


def predict_one(context: WorkContext, job: JobRow) -> Units:
    """Predict one image of the pool or of a session for a client who waits."""
    yield Progress(0.0, "predicting")
    with context.turns.interactive():
        if job.request.get("session"):
            return _predict_session(context, job)
        row = predict_pool_image(context, job.request["model_version"], job.request["image"])
        return {"prediction_id": row.id, "sha256": row.sha256}


def score_pool(context: WorkContext, job: JobRow) -> Units:
    """Predict a chunk of the pool, one image a unit; images seen already cost nothing."""
    wanted: list[str] = job.request["images"]
    failed = 0
    for done, image_id in enumerate(wanted):
        context.turns.give_way()
        if not _is_active(context, job.request["model_version"]):
            yield Progress(1.0, "left: another model version answers now")
            break
        failed += not _try_predict(context, job.request["model_version"], image_id)
        yield Progress((done + 1) / len(wanted))
    return {"images": len(wanted), "failed": failed}


def predict_batch(context: WorkContext, job: JobRow) -> Units:
    """Predict all, the labeled or the unlabeled images and keep the results as labels."""
    tag = str(job.request.get("label_tag", "original"))
    result: Json = {}
    with context.database.reading() as session:
        version = model_versions.active(session)
        if version is None:
            raise InvalidInputError("no trained model yet; submit labels and start a training")
        wanted = images.image_ids(session, which=job.request.get("images", "all"))
    for done, image_id in enumerate(wanted):
        context.turns.give_way()
        if _try_predict(context, version.id, image_id):
            result[image_id] = _keep_as_label(context, version, image_id, tag)
        else:
            result[image_id] = {}
        yield Progress((done + 1) / len(wanted), image_id)
    return result


def _predict_session(context: WorkContext, job: JobRow) -> Json:
    settings = context.settings
    with context.database.reading() as session:
        version = model_versions.get_version(session, job.request["model_version"])
        path = sessions.image_path(session, settings, job.request["session"])
    weights = model_versions.weights_path(settings, version.job_id)
    with memory_needed("predicting the image that was sent"):
        image = axial_image(read_volume(path))
        prediction = predict_with_room(weights, context.device, image, settings)
        encoded = encode_label_map(prediction.labels, image)
    digest = context.files.put(encoded, LABEL_EXTENSION)
    return {
        "sha256": digest,
        "scores": prediction.scores.to_json(),
        "agatston_samples": prediction.agatston_samples.round(4).tolist(),
        "lesion_share": prediction.shares.lesion if prediction.shares else None,
        "region_share": prediction.shares.region if prediction.shares else None,
        "seconds": prediction.seconds,
    }


def _try_predict(context: WorkContext, version_id: int, image_id: str) -> bool:
    """Predict an image; one that cannot be read or held in memory is left out, and told."""
    try:
        predict_pool_image(context, version_id, image_id)
    except DamagedWeightsError:
        raise  # No image can be predicted without them.
    except CacLabelError as error:
        logger.warning(for_log(image_id, f"image {image_id} was not predicted: {error}"))
        if isinstance(error, DamagedFileError):
            note_damage(context.database, error, now=context.clock())
        return False
    return True


def _keep_as_label(context: WorkContext, version: ModelVersionRow, image_id: str, tag: str) -> Json:
    with context.database.writing() as session:
        row = find_row(session, image_id, version.id, prediction_key(context.settings))
        kept = labels.find_label(session, image_id, tag)
        # What a person made or judged stays; the other images go on.
        if row is None or (kept is not None and labels.is_of_a_person(kept)):
            return {}
        params: Json = {"label_names": LABELS, "scores": row.scores}
        labels.keep_prediction(
            session,
            context.files,
            image_id=image_id,
            tag=tag,
            sha256=row.sha256,
            info={"model": "calcium", "params": params},
            now=context.clock(),
        )
        return {"label": image_id, "tag": tag, "params": params}


def _is_active(context: WorkContext, version_id: int) -> bool:
    with context.database.reading() as session:
        version = model_versions.active(session)
    return version is not None and version.id == version_id
