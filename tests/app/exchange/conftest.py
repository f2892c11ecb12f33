"""A data folder without a studies folder, as an import finds it."""

import pytest

from app.exchange.data_folder import DataFolder
from app.settings import Settings
from tests.app.conftest import Deployment


@pytest.fixture
def data(deployment: Deployment) -> DataFolder:
    settings = Settings(data=deployment.settings.data)
    return DataFolder(settings, deployment.database, deployment.files, now=lambda: 1000.0)
