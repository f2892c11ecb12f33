"""An annotator's program: everything the demonstration does with the server goes through here.

Only HTTP, as 3D Slicer and OHIF speak it; nothing is read from the server's folders.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any, Final, TypeVar

import requests
from pydantic import BaseModel, ValidationError

from app.errors import InvalidInputError, JobFailedError
from server.demo.answers import CalciumTable, Offer, Prediction, Status
from server.demo.forms import read_form

_Answer = TypeVar("_Answer", bound=BaseModel)

_MODEL: Final = "calcium"

_TIMEOUT_S: Final = 900.0
"""Longest wait for one answer; a prediction may have to wait for its turn."""

_FILE_NAME: Final = re.compile(r'filename="([^"]+)"')

_FORM_PARAMS: Final = json.dumps({"result_extension": ".nrrd", "result_compress": True})


class AnnotationClient:
    """Speaks the MONAI Label wire for one annotator."""

    def __init__(self, url: str, client_id: str) -> None:
        """Prepare to talk to the server at ``url``; nothing is sent yet."""
        self._url = url
        self._client_id = client_id
        self._http = requests.Session()
        # A proxy of the machine must not see, or answer, what stays on this machine.
        self._http.trust_env = False

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def is_answering(self) -> bool:
        """Tell whether the server answers, with or without a worker."""
        try:
            answer = self._http.get(f"{self._url}/health", timeout=_TIMEOUT_S)
        except requests.ConnectionError:
            return False
        return answer.status_code == 200

    def is_ready(self) -> bool:
        """Tell whether the server answers and one of its workers lives."""
        try:
            answer = self._http.get(f"{self._url}/health", timeout=_TIMEOUT_S)
        except requests.ConnectionError:
            return False
        return answer.status_code == 200 and answer.json().get("status") == "ok"

    def image_count(self) -> int:
        """Count the images in the pool."""
        return int(self._json("GET", "/datastore/")["total"])

    def label_count(self) -> int:
        """Count the images with a final label."""
        return int(self._json("GET", "/datastore/")["completed"])

    def refused(self) -> list[str]:
        """Return why files of the studies folder were not trusted."""
        return [str(entry["problem"]) for entry in self._json("GET", "/quarantine")]

    def unlabeled_images(self) -> tuple[set[str], set[str]]:
        """Return the unlabeled images the active model has predicted, and all unlabeled ones."""
        objects = self._json("GET", "/datastore/", params={"output": "all"})["objects"]
        unlabeled = {name for name, entry in objects.items() if "final" not in entry["labels"]}
        predicted = {name for name in unlabeled if "original" in objects[name]["labels"]}
        return predicted, unlabeled

    def next_sample(self, strategy: str, *, skip: str | None = None) -> Offer | None:
        """Ask what to label next, giving back ``skip``; None when nothing is left."""
        options = {"client_id": self._client_id} | ({"skip": skip} if skip else {})
        answer = self._json("POST", f"/activelearning/{strategy}", json=options)
        return _understood(Offer, answer) if answer else None

    def download(self, image_id: str, folder: Path, *, checksum: str = "") -> Path:
        """Download an image of the pool into ``folder`` and check it against a checksum.

        Raises:
            InvalidInputError: If it is not what the server meant to send.
        """
        answer = self._ask("GET", "/datastore/image", params={"image": image_id})
        digest = hashlib.sha256(answer.content).hexdigest()
        if checksum and checksum != f"SHA256:{digest}":
            raise InvalidInputError(f"image {image_id} came damaged: its checksum differs")
        name = _FILE_NAME.search(answer.headers.get("content-disposition", ""))
        if name is None:
            raise InvalidInputError(f"image {image_id} came without a file name")
        path = folder / Path(name[1]).name
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(answer.content)
        return path

    def infer_image(self, image_id: str, folder: Path) -> Prediction:
        """Get the prediction of an image of the pool; its mask is written to ``folder``."""
        return self._infer(folder, {"image": image_id})

    def infer_file(self, path: Path, folder: Path) -> Prediction:
        """Get the prediction of a file that is not in the pool, through a temporary session."""
        with path.open("rb") as file:
            opened = self._json("PUT", "/session/", files={"files": (path.name, file)})
        session_id = str(opened["session_id"])
        try:
            return self._infer(folder, {"session_id": session_id})
        finally:
            self._ask("DELETE", f"/session/{session_id}")

    def submit(self, image_id: str, label: Path, segments: list[str]) -> None:
        """Send a final label with the names of its segments, as a viewer does."""
        listed = [{"name": name, "idx": number} for number, name in enumerate(segments, start=1)]
        params = {"label_info": listed, "client_id": self._client_id}
        with label.open("rb") as file:
            self._ask(
                "PUT",
                "/datastore/label",
                params={"image": image_id},
                data={"params": json.dumps(params)},
                files={"label": (label.name, file)},
            )

    def labeled_images(self) -> set[str]:
        """Return the images with a final label."""
        objects = self._json("GET", "/datastore/", params={"output": "all"})["objects"]
        return {name for name, entry in objects.items() if "final" in entry["labels"]}

    def start_training(self, epochs: int) -> None:
        """Start a training on every label there is."""
        options = {"max_epochs": epochs, "client_id": self._client_id}
        self._json("POST", f"/train/{_MODEL}", json=options)

    def training(self) -> Status:
        """Tell how far the training is.

        Raises:
            JobFailedError: If it failed or was stopped.
        """
        status = _understood(Status, self._json("GET", "/train/"))
        if status.status not in ("RUNNING", "DONE"):
            raise JobFailedError(f"the training ended as {status.status}: {status.line}")
        return status

    def version(self) -> str:
        """Return the version of the server."""
        return str(self._json("GET", "/info/")["version"])

    def _infer(self, folder: Path, query: dict[str, str]) -> Prediction:
        answer = self._ask("POST", f"/infer/{_MODEL}", params=query, data={"params": _FORM_PARAMS})
        form = read_form(answer.headers["content-type"], answer.content)
        folder.mkdir(parents=True, exist_ok=True)
        mask = folder / Path(form.file_name).name
        mask.write_bytes(form.content)
        return Prediction(mask, _understood(CalciumTable, form.params.get("calcium")))

    def _json(self, method: str, path: str, **request: Any) -> Any:
        return self._ask(method, path, **request).json()

    def _ask(self, method: str, path: str, **request: Any) -> requests.Response:
        """Send a request; every client of this wire takes all but 200 for a failure."""
        try:
            answer = self._http.request(method, self._url + path, timeout=_TIMEOUT_S, **request)
        except requests.RequestException as error:
            raise JobFailedError(f"{method} {path}: no answer ({error})") from error
        if answer.status_code != 200:
            said = f"{answer.status_code}: {answer.text[:300]}"
            raise JobFailedError(f"{method} {path} was answered with {said}")
        return answer


def _understood(kind: type[_Answer], value: object) -> _Answer:
    """Read an answer; one that is not as expected is a failure like any other."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise JobFailedError(f"{kind.__name__} of the server, {place}: {first['msg']}") from None
