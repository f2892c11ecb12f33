"""Every setting of a deployment, in one frozen object with one prefix."""

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, HttpUrl, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.errors import SettingsError

PREFIX = "CACLABEL_"
"""Prefix of every environment variable the server reads."""


class Settings(BaseSettings):
    """Settings of one server and its workers, read from ``CACLABEL_<NAME>`` or options."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    studies: HttpUrl | Path | None = Field(
        None,
        union_mode="left_to_right",
        description="Folder of CT volumes, never written to; or address of a DICOMweb server",
    )
    data: Path = Field(Path("data"), description="Folder of the database, labels and models")
    host: str = Field("127.0.0.1", description="Address the server listens on")
    port: int = Field(8000, ge=1, le=65535, description="Port the server listens on")
    database_url: str = Field("", description="SQLAlchemy URL; empty: SQLite in the data folder")
    jobs_url: str = Field("", description="Database of the job engine; empty: SQLite in `data`")
    worker_id: str = Field("worker-0", description="Fixed name of a worker; one per GPU")
    device: str = Field("auto", description="`auto`, `cpu`, `cuda` or `cuda:N`")
    threads: int = Field(0, ge=0, description="Threads of a worker; 0: one per core")
    profile: Literal["small", "paper"] = Field(
        "paper", description="Network: `small` (128x128, CPU) or `paper` (512x512, GPU)"
    )
    max_epochs: int = Field(0, ge=0, description="Epochs of a training; 0: as the profile says")
    train_every: int = Field(
        0, ge=0, description="Train after so many new labels; 0: only on request"
    )
    train_quiet_seconds: float = Field(
        60.0, ge=0, description="Quiet after the last label before such a training starts"
    )
    train_start: Literal["shrink_perturb", "fresh", "warm"] = Field(
        "shrink_perturb", description="Where a training's weights begin: docs/retraining.md"
    )
    first_training: int = Field(2, ge=1, description="Labels needed before a training may start")
    validation_percent: int = Field(
        20, ge=0, le=50, description="Share of patients kept for validation, by patient hash"
    )
    gate_patients: int = Field(
        8, ge=1, description="Validation patients that comparing two model versions needs"
    )
    gate_margin: float = Field(
        0.05, gt=0, lt=1, description="How much worse a new version's calcium volume F1 may be"
    )
    gate_confidence: float = Field(
        0.95, gt=0.5, lt=1, description="How sure it must be that it is not worse than that"
    )
    gate_unproven: Literal["promote", "keep"] = Field(
        "promote", description="New versions with fewer patients: `promote` or `keep` back"
    )
    samples: int = Field(20, ge=2, le=100, description="MC-dropout samples of a prediction")
    seed: int = Field(20220811, description="Seed of masks, training and tie-breaking")
    rule: str = Field("agatston", description="Scoring rule of the calcium table")
    mass_factor: float = Field(
        0.000722, gt=0, description="Calcium mass calibration in mg/(mm3 HU)"
    )
    lease_minutes: float = Field(60.0, gt=0, description="How long a sample stays with a client")
    idle_minutes: float = Field(
        10.0, gt=0, description="Longest pause that counts as work in an annotation time"
    )
    session_minutes: float = Field(60.0, gt=0, description="How long an uploaded session lives")
    scan_seconds: float = Field(10.0, gt=0, description="Pause between looks at the studies folder")
    infer_timeout_s: float = Field(600.0, gt=0, description="Longest wait for a prediction")
    task_timeout_s: float = Field(
        86400.0, gt=0, description="Longest wait for a task that a client waits for"
    )
    upload_limit_mb: int = Field(2048, ge=1, description="Largest upload that is accepted")
    label_limit_mb: int = Field(
        512, ge=1, description="Largest label, and request to store DICOM: held in memory"
    )
    volume_limit_mvoxels: int = Field(
        512, ge=1, le=512, description="Largest volume that is decoded, in 1024 x 1024 voxels"
    )
    shutdown_seconds: float = Field(
        20.0, ge=0, description="Longest wait at a stop for requests, and units of jobs, under way"
    )
    disk_reserve_mb: int = Field(
        512, ge=0, description="Disk that uploads leave free; 507 to what would need it"
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="Lines of the log for people, or JSON objects: docs/monitoring.md"
    )
    cors_origins: tuple[str, ...] = Field(
        (), description="Origins whose pages may call the server; `*` for any"
    )
    pacs_user: str = Field("", description="User name for the DICOMweb server")
    pacs_password: SecretStr = Field(SecretStr(""), description="Password for it")
    pacs_token: SecretStr = Field(SecretStr(""), description="Bearer token for it instead")
    pacs_filter: dict[str, str] = Field(
        {"Modality": "CT"}, description="Which series of the DICOMweb server are in the pool, JSON"
    )
    pacs_sync_seconds: float = Field(
        60.0, gt=0, description="Pause between two looks for new series there"
    )
    pacs_timeout_s: float = Field(30.0, gt=0, description="Longest wait for its answers")
    pacs_cache_gb: float = Field(20.0, gt=0, description="Disk for series that came from there")
    pacs_prefetch: int = Field(4, ge=0, description="Series to have at hand for the next samples")
    pacs_export: bool = Field(True, description="Store submitted labels there, as SEG and SR")
    ohif: Path | None = Field(None, description="Folder of another build of OHIF")
    access: Literal["auto", "on", "off"] = Field(
        "auto", description="Whether clients log in; `off` only where `host` is this machine alone"
    )
    allowed_hosts: tuple[str, ...] = Field(
        (), description="Host names clients use; empty: addresses, and names of this network"
    )
    public_url: str = Field(
        "", description="Address that browsers know the server by; empty: the one that they used"
    )
    token_hours: float = Field(12.0, gt=0, description="How long a login lasts")
    login_rate: int = Field(10, ge=0, description="Logins a minute of one address; 0: any number")
    upload_rate: int = Field(120, ge=0, description="Uploads a minute of one user; 0: any number")
    infer_rate: int = Field(300, ge=0, description="`/infer` a minute of one user; 0: any number")
    tls_certificate: Path | None = Field(None, description="PEM file; the server speaks HTTPS then")
    tls_key: Path | None = Field(None, description="PEM file of its private key")
    oidc_issuer: str = Field("", description="Address of an OpenID Connect realm: docs/access.md")
    oidc_audience: str = Field("", description="What its tokens must be meant for (`aud`)")
    oidc_client_id: str = Field("", description="Client by which people log in there")
    oidc_client_secret: SecretStr = Field(SecretStr(""), description="Secret of that client")
    oidc_client_secret_file: Path | None = Field(None, description="File with it instead")
    oidc_label: str = Field("", description="What the login page calls it; empty: its host name")
    oidc_name_claim: str = Field("preferred_username", description="Claim with the user name")
    oidc_roles_claim: str = Field(
        "realm_access#roles", description="Claim with the roles; `#` goes one level deeper"
    )
    oidc_roles: dict[str, Literal["admin", "reviewer", "annotator", "user"]] = Field(
        {
            "monailabel-admin": "admin",
            "monailabel-reviewer": "reviewer",
            "monailabel-annotator": "annotator",
            "monailabel-user": "user",
        },
        description="What its roles are called here, JSON",
    )

    @property
    def studies_folder(self) -> Path | None:
        """The studies folder, None where images come from a DICOMweb server or by upload."""
        return self.studies if isinstance(self.studies, Path) else None

    @property
    def pacs_url(self) -> str | None:
        """Address of the DICOMweb server without a slash at its end, or None."""
        return None if isinstance(self.studies, Path | None) else str(self.studies).rstrip("/")

    @property
    def max_voxels(self) -> int:
        """Most voxels of a volume that comes from a client."""
        return self.volume_limit_mvoxels << 20

    @property
    def database(self) -> str:
        """URL of the application database."""
        return self.database_url or f"sqlite:///{self.data.resolve() / 'caclabel.sqlite'}"

    @property
    def jobs_database(self) -> str:
        """URL of the job engine's own database."""
        return self.jobs_url or f"sqlite:///{self.data.resolve() / 'jobs.sqlite'}"

    @property
    def files(self) -> Path:
        """Folder of the content-addressed files."""
        return self.data / "files"

    @property
    def cache(self) -> Path:
        """Folder of what can be made again: arrays of volumes, converted images."""
        return self.data / "cache"

    @property
    def runs(self) -> Path:
        """Folder of the unfinished trainings."""
        return self.data / "runs"


def load_settings(**overrides: object) -> Settings:
    """Read the settings from the environment; ``overrides`` that are not None win.

    Raises:
        SettingsError: If a value is wrong or a variable with the prefix is unknown.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {PREFIX + "TEST_DATA"}
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise SettingsError(f"unknown setting {unknown[0]}; see the settings table of the README")
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings.model_validate({**Settings().model_dump(), **given})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"setting {name}: {first['msg']}") from None
