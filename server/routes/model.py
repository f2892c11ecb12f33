"""``/model/{model}``: the weights that answer now, as safetensors, to read only."""

from fastapi import APIRouter, HTTPException
from fastapi.responses import FileResponse

from server.dependencies import ReadSession, SettingsDep
from server.flows import weights
from server.wire.catalog import ModelName
from server.wire.multipart import file_headers
from server.wire.schemas import ModelVersionOut

router = APIRouter(prefix="/model", tags=["model"])

_READ_ONLY = "weights come from trainings on this server; they cannot be sent or removed"


@router.get("/info/{model}")
def model_info(session: ReadSession, model: ModelName) -> ModelVersionOut:
    """Describe the weights that answer now."""
    return weights.describe(session, model)


@router.get("/{model}", response_class=FileResponse)
def model_file(session: ReadSession, settings: SettingsDep, model: ModelName) -> FileResponse:
    """Download the weights that answer now."""
    path = weights.weights_file(session, settings, model)
    return FileResponse(path, headers=file_headers(f"{model}{path.suffix}"))


@router.put("/{model}")
@router.delete("/{model}")
def change_model(model: ModelName) -> None:
    """Refuse to change weights: a stranger's file would run in every later prediction."""
    raise HTTPException(403, f"model {model}: {_READ_ONLY}")
