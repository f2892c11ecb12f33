"""What each route takes: the one place that says who may ask for what.

A route that is not in here is refused while people have to log in; a test compares the table
with the application. Roles are those of protocol and original, except for verdicts about
labels, which are a reviewer's: whoever made a label does not approve it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from app.access.roles import Role

Limit = Literal["login", "upload", "infer"]


@dataclass(frozen=True)
class Rule:
    """What a route takes.

    Attributes:
        role: The least that may ask; None: everybody, without logging in.
        limit: Which rate counts for it.
    """

    role: Role | None
    limit: Limit | None = None


_PUBLIC: Final = Rule(None)
_LOGIN: Final = Rule(None, "login")
_USER: Final = Rule(Role.USER)
_ANNOTATOR: Final = Rule(Role.ANNOTATOR)
_REVIEWER: Final = Rule(Role.REVIEWER)
_ADMIN: Final = Rule(Role.ADMIN)
_UPLOAD: Final = Rule(Role.ANNOTATOR, "upload")
_SESSION_UPLOAD: Final = Rule(Role.USER, "upload")
_INFER: Final = Rule(Role.USER, "infer")

ROUTES: Final[Mapping[tuple[str, str], Rule]] = {
    # Logging in
    ("GET", "/auth"): _PUBLIC,
    ("POST", "/auth/token"): _LOGIN,
    ("GET", "/auth/token/valid"): _USER,
    ("GET", "/login"): _PUBLIC,
    ("POST", "/login"): _LOGIN,
    ("GET", "/login/provider"): _LOGIN,
    ("GET", "/login/provider/done"): _LOGIN,
    ("POST", "/logout"): _USER,
    # Pages
    ("GET", "/"): _USER,
    ("GET", "/docs"): _USER,
    ("GET", "/openapi.json"): _USER,
    ("HEAD", "/openapi.json"): _USER,
    ("GET", "/health"): _USER,
    # For a program with a key of its own: counts, no names.
    ("GET", "/metrics"): _USER,
    # For the machine that looks after the process; they name nothing and nobody.
    ("GET", "/health/live"): _PUBLIC,
    ("GET", "/health/ready"): _PUBLIC,
    # Samples and predictions
    ("GET", "/info"): _USER,
    ("POST", "/activelearning/{strategy}"): _USER,
    ("POST", "/activelearning/lease/heartbeat"): _USER,
    ("POST", "/infer/{model}"): _INFER,
    ("GET", "/batch/infer"): _USER,
    ("POST", "/batch/infer/{model}"): _ADMIN,
    ("DELETE", "/batch/infer"): _ADMIN,
    ("GET", "/scoring"): _USER,
    ("POST", "/scoring"): _ANNOTATOR,
    ("POST", "/scoring/{method}"): _ANNOTATOR,
    ("DELETE", "/scoring"): _ANNOTATOR,
    # Training and model versions
    ("GET", "/train"): _USER,
    ("POST", "/train"): _ADMIN,
    ("POST", "/train/{model}"): _ADMIN,
    ("DELETE", "/train"): _ADMIN,
    ("GET", "/model/{model}"): _ADMIN,
    ("GET", "/model/info/{model}"): _ADMIN,
    ("PUT", "/model/{model}"): _ADMIN,
    ("DELETE", "/model/{model}"): _ADMIN,
    ("GET", "/model_versions"): _USER,
    ("GET", "/model_versions/{version_id}"): _USER,
    ("GET", "/model_versions/{version_id}/coverage"): _USER,
    ("POST", "/model_versions/rollback"): _ADMIN,
    ("POST", "/model_versions/{version_id}/promote"): _ADMIN,
    # Images and labels
    ("GET", "/datastore"): _USER,
    ("PUT", "/datastore"): _UPLOAD,
    ("DELETE", "/datastore"): _ADMIN,
    ("GET", "/datastore/image"): _USER,
    ("HEAD", "/datastore/image"): _USER,
    ("PUT", "/datastore/image"): _UPLOAD,
    ("DELETE", "/datastore/image"): _ADMIN,
    ("GET", "/datastore/image/info"): _USER,
    ("PUT", "/datastore/image/info"): _ANNOTATOR,
    ("GET", "/datastore/label"): _USER,
    ("HEAD", "/datastore/label"): _USER,
    ("PUT", "/datastore/label"): _UPLOAD,
    ("DELETE", "/datastore/label"): _ADMIN,
    ("GET", "/datastore/label/info"): _USER,
    ("PUT", "/datastore/label/info"): _REVIEWER,
    ("PUT", "/datastore/updatelabelinfo"): _REVIEWER,
    ("GET", "/datastore/dataset"): _ANNOTATOR,
    ("PUT", "/session"): _SESSION_UPLOAD,
    ("GET", "/session/{session_id}"): _USER,
    ("DELETE", "/session/{session_id}"): _USER,
    # Viewer
    ("GET", "/ohif"): _USER,
    ("GET", "/ohif/images.json"): _USER,
    ("GET", "/ohif/{path:path}"): _USER,
    ("GET", "/proxy/dicom/studies"): _USER,
    ("HEAD", "/proxy/dicom/studies"): _USER,
    ("GET", "/proxy/dicom/studies/{path:path}"): _USER,
    ("HEAD", "/proxy/dicom/studies/{path:path}"): _USER,
    ("GET", "/proxy/dicom/series"): _USER,
    ("HEAD", "/proxy/dicom/series"): _USER,
    ("GET", "/proxy/dicom/instances"): _USER,
    ("HEAD", "/proxy/dicom/instances"): _USER,
    ("GET", "/proxy/dicom/{root}/{path:path}"): _USER,
    ("HEAD", "/proxy/dicom/{root}/{path:path}"): _USER,
    ("POST", "/proxy/dicom/studies"): _UPLOAD,
    ("POST", "/proxy/dicom/studies/{study_uid}"): _UPLOAD,
    ("POST", "/proxy/dicom/{root}/studies"): _UPLOAD,
    ("POST", "/proxy/dicom/{root}/studies/{study_uid}"): _UPLOAD,
    # What operators look at
    ("GET", "/logs"): _ADMIN,
    ("GET", "/logs/gpu"): _ADMIN,
    ("GET", "/quarantine"): _REVIEWER,
    ("GET", "/quarantine/segmentations"): _REVIEWER,
    ("GET", "/exports"): _REVIEWER,
    ("POST", "/exports/{label_id}/retry"): _ADMIN,
    ("GET", "/audit"): _ADMIN,
}
"""Every method and path of the application, as its route spells the path."""
