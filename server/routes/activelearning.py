"""``/activelearning/{strategy}``: the image to label next."""

from fastapi import APIRouter, Request

from app import samples
from server.dependencies import DatabaseDep, Now, ServicesDep, SettingsDep
from server.flows.heartbeats import note_work
from server.wire.catalog import StrategyName
from server.wire.ids import ImageId
from server.wire.offers import offer
from server.wire.options import JsonObject, client_of
from server.wire.schemas import HeartbeatOut, SampleOut
from server.wire.strategies import read_request

router = APIRouter(prefix="/activelearning", tags=["activelearning"])


@router.post(
    "/{strategy}",
    response_model=SampleOut | dict[str, str],
    response_model_exclude_unset=True,
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
    given = read_request(strategy, options or {})
    client = client_of(options or {})
    sample = samples.next_sample(
        database, strategy=strategy, client_id=client, options=given, settings=settings, now=now
    )
    return offer(sample, str(request.base_url)) if sample else {}


@router.post("/lease/heartbeat")
def heartbeat(services: ServicesDep, now: Now, image: ImageId, client_id: str) -> HeartbeatOut:
    """Say that a client still works on its sample, which is kept for it longer then."""
    return HeartbeatOut(image=image, is_held=note_work(services, image, client_id, now))
