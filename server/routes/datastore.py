"""``/datastore/``: the pool as a whole, and downloads of everything that is labeled."""

from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse, Response

from app import datastore
from server.dependencies import FilesDep, ReadSession, SettingsDep
from server.flows import downloads, listing
from server.wire.schemas import StatsOut, TrainPairOut

router = APIRouter(prefix="/datastore", tags=["datastore"])

_MOST_CASES: Final = 1_000_000
"""Largest limit that is read; more is a slip, and too large for a database."""


@router.get("", response_model=None)
def read_datastore(
    session: ReadSession, output: Literal["stats", "all", "train"] = "stats"
) -> StatsOut | Response | list[TrainPairOut]:
    """Count the images and labels, or list them."""
    if output == "all":
        return listing.overview_answer(session)
    if output == "train":
        return [TrainPairOut.model_validate(pair) for pair in datastore.train_list(session)]
    return StatsOut.model_validate(datastore.stats(session))


@router.get("/dataset", response_class=FileResponse)
def download_dataset(
    session: ReadSession,
    files: FilesDep,
    settings: SettingsDep,
    limit_cases: Annotated[int | None, Query(ge=0, le=_MOST_CASES)] = None,
) -> FileResponse:
    """Download the labeled images with their labels as a zip file."""
    return downloads.dataset_answer(session, files, settings, limit_cases)
