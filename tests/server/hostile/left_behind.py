"""What a refused request leaves on the disk."""

from app.settings import Settings


def files(settings: Settings) -> set[str]:
    """Return the files of the data folder without those of the database."""
    found = (path for path in settings.data.rglob("*") if path.is_file())
    return {str(path.relative_to(settings.data)) for path in found if "sqlite" not in path.name}
