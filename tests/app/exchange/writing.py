"""Exports run to their end."""

from app.exchange.data_folder import DataFolder
from app.exchange.exporting import Exported, Exporter, every_version, export_labels
from app.intake.pool import FINAL_TAG, current_labels


def write(data: DataFolder, exporter: Exporter, *, every: bool = False) -> dict[str, Exported]:
    with data.database.reading() as session:
        versions = (every_version if every else current_labels)(session, FINAL_TAG)
    return {done.name: done for done in export_labels(exporter, versions)}
