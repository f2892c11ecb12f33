"""A process that submits labels without end and says each time which one is acknowledged."""

import itertools
import sys
import tempfile
from pathlib import Path

from app.intake import submission
from app.intake.submission import Submission
from app.settings import Settings
from app.store.database import Database
from app.store.files import FileStore
from tests.factories import make_grid, make_labels, write_itk


def main(data: Path, first: int) -> None:
    settings = Settings(data=data)
    database, files = Database(settings.database), FileStore(settings.files)
    with tempfile.TemporaryDirectory() as folder:
        for seed in itertools.count(first):
            path = write_itk(Path(folder, "label.nrrd"), make_labels(seed=seed), make_grid())
            label = Submission("a", path.read_bytes(), path.name, {}, annotator=str(seed))
            submission.submit(database, files, settings, label, now=float(seed))
            sys.stdout.write(f"{seed}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
