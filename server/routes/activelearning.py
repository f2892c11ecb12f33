"""``/activelearning/{strategy}``: the image to label next."""

from fastapi import APIRouter

from app import samples
from server.catalog import StrategyName
from server.dependencies import Now, SettingsDep, WriteSession
from server.offers import offer
from server.options import JsonObject, client_of
from server.schemas import SampleOut

router = APIRouter(prefix="/activelearning", tags=["activelearning"])


@router.post("/{strategy}", response_model=SampleOut | dict[str, str])
def next_sample(
    session: WriteSession,
    settings: SettingsDep,
    now: Now,
    strategy: StrategyName,
    options: JsonObject | None = None,
) -> SampleOut | dict[str, str]:
    """Choose the image to label next and reserve it; an empty object when none is left."""
    options = options or {}
    client = client_of(options)
    sample = samples.assign_next(
        session, strategy=strategy, client_id=client, options=options, settings=settings, now=now
    )
    return offer(sample) if sample else {}
