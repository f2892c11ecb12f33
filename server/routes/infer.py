"""``/infer/{model}``: the prediction of one image, with its calcium table."""

from typing import Annotated

from fastapi import APIRouter, Form, Response, UploadFile

from server.dependencies import Now, ServicesDep
from server.flows import infer_answers, results
from server.flows.infer_answers import Output
from server.flows.temporary_images import session_for
from server.wire.catalog import ModelName

router = APIRouter(prefix="/infer", tags=["infer"])


@router.post("/{model}", response_class=Response)
def infer(
    services: ServicesDep,
    now: Now,
    model: ModelName,
    image: str = "",
    session_id: str = "",
    output: Output = "all",
    params: Annotated[str, Form()] = "{}",
    file: UploadFile | None = None,
) -> Response:
    """Predict an image of the pool, of a session, or one that comes as file."""
    wish = infer_answers.read_wish(params, output)
    with session_for(services, session_id, file, now=now) as temporary:
        result = results.predict(services, image_id=image, session_id=temporary, now=now)
    return infer_answers.infer_answer(services, result, wish, now=now)
