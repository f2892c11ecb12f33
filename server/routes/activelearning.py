"""``/activelearning/{strategy}``: the image to label next."""

from fastapi import APIRouter, Request

from app import samples
from server.dependencies import DatabaseDep, Now, SettingsDep
from server.wire.catalog import StrategyName
from server.wire.offers import offer
from server.wire.options import JsonObject, client_of
from server.wire.schemas import SampleOut

router = APIRouter(prefix="/activelearning", tags=["activelearning"])


@router.post(
    "/{strategy}",
    response_model=SampleOut | dict[str, str],
    response_model_exclude_none=True,
)
def next_sample(
    request: Request,
    database: DatabaseDep,
    settings: SettingsDep,
    now: Now,
    strategy: StrategyName,
    options: JsonObject | None = None,
) -> SampleOut | dict[str, str]:
    """Choose the image to label next and reserve it; an empty object when none is left."""
    given = options or {}
    client = client_of(given)
    with database.writing() as session:
        sample = samples.assign_next(
            session, strategy=strategy, client_id=client, options=given, settings=settings, now=now
        )
    return offer(sample, str(request.base_url)) if sample else {}
