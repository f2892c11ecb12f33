"""Settings of a command: its options win over the environment."""

import argparse
import json
from pathlib import Path

from pydantic import SecretStr

from app.errors import SettingsError
from app.settings import PREFIX, Settings, load_settings


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the folders that the web process and the workers share."""
    parser.add_argument(
        "--studies",
        help="folder of CT volumes, never written to; or http address of a DICOMweb server",
    )
    parser.add_argument("--data", type=Path, help="folder of the database, labels and models")
    parser.add_argument("--profile", choices=("small", "paper"), help="size of the network")


def settings_of(arguments: argparse.Namespace) -> Settings:
    """Return the settings of a command, with the folders checked.

    Raises:
        SettingsError: If a setting is wrong, or a folder cannot be used.
    """
    given = {name: getattr(arguments, name, None) for name in Settings.model_fields}
    settings = load_settings(**given)
    _check_folders(settings)
    return settings


def environment_of(settings: Settings) -> dict[str, str]:
    """Return the environment that gives another process the same settings."""
    values = settings.model_dump(mode="json", exclude_none=True)
    # A dump masks secrets.
    fields = {name: getattr(settings, name) for name in values}
    values |= {
        name: field.get_secret_value()
        for name, field in fields.items()
        if isinstance(field, SecretStr)
    }
    return {
        PREFIX + name.upper(): value if isinstance(value, str) else json.dumps(value)
        for name, value in values.items()
    }


def _check_folders(settings: Settings) -> None:
    if settings.studies_folder is None:
        return
    if not settings.studies_folder.is_dir():
        raise SettingsError(f"the studies folder {settings.studies_folder} does not exist")
    if settings.data.resolve().is_relative_to(settings.studies_folder.resolve()):
        raise SettingsError(
            f"the data folder {settings.data} lies in the studies folder, which is never"
            " written to; choose another with --data"
        )
