"""MONAI Label's own datastore, run as a program: the package is never imported by the tests.

    python stock_datastore.py list FOLDER
    python stock_datastore.py fill FOLDER IMAGE LABEL

``list`` prints what it sees as JSON; ``fill`` adds an image and a final label of an RCA.
"""

import json
import sys
import types
import warnings
from typing import Any


def open_datastore(folder: str) -> Any:
    """Open a folder.

    Its module imports what it does not use here: a watcher of folders, which is not installed,
    and torch and monai, which take five seconds.
    """
    unused: dict[str, dict[str, object]] = {
        # Python 3.12 has it no longer.
        "distutils": {},
        "distutils.util": {},
        "torch": {},
        "monai": {},
        "monai.apps": {"download_url": None},
        "monai.bundle": {"download": None, "get_bundle_versions": None},
        "monai.bundle.scripts": {"get_all_bundles_list": None},
        "watchdog": {},
        "watchdog.events": {"PatternMatchingEventHandler": object},
        "watchdog.observers": {"Observer": object},
        "watchdog.observers.polling": {"PollingObserver": object},
    }
    for name, content in unused.items():
        module = types.ModuleType(name)
        module.__dict__.update(content)
        sys.modules[name] = module
    from monailabel.datastore.local import LocalDatastore

    return LocalDatastore(folder, extensions=("*.nii.gz", "*.nii", "*.nrrd"))


def main(action: str, folder: str, *files: str) -> None:
    """Do one of both."""
    datastore = open_datastore(folder)
    if action == "fill":
        image, label = files
        image_id = datastore.add_image(None, image, {"client_id": "slicer-user"})
        info = {"label_info": [{"name": "RCA", "idx": 1}], "client_id": "dr-x"}
        datastore.save_label(image_id, label, "final", info)
    seen = {
        image_id: {
            "image": datastore.get_image_uri(image_id),
            "label": datastore.get_label_uri(image_id, "final"),
            "names": [
                it["name"] for it in datastore.get_label_info(image_id, "final")["label_info"]
            ],
        }
        for image_id in datastore.list_images()
    }
    sys.stdout.write(json.dumps({"status": datastore.status(), "seen": seen}) + "\n")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(*sys.argv[1:])
