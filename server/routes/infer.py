"""``/infer/{model}``: a prediction or the lesions at clicks, with the calcium table."""

from typing import Annotated

from fastapi import APIRouter, Form, Response, UploadFile

from server.dependencies import Now, ServicesDep
from server.flows import answering, infer_answers
from server.flows.answering import Target
from server.flows.heartbeats import NotedInference
from server.flows.infer_answers import Output
from server.flows.temporary_images import session_for
from server.flows.uploads import SingleFields
from server.wire.catalog import AnsweringModel
from server.wire.ids import ImageId

router = APIRouter(prefix="/infer", tags=["infer"], dependencies=[SingleFields])


@router.post("/{model}", response_class=Response, dependencies=[NotedInference])
def infer(
    services: ServicesDep,
    now: Now,
    model: AnsweringModel,
    image: ImageId = "",
    session_id: str = "",
    output: Output = "all",
    params: Annotated[str, Form()] = "{}",
    file: UploadFile | None = None,
) -> Response:
    """Predict an image of the pool, of a session, or one that comes as file; or answer clicks."""
    wish = infer_answers.read_wish(params, output)
    with session_for(services, session_id, file, now=now) as temporary:
        target = Target(image, temporary)
        return answering.answer(services, model, target, wish, now=now)
