"""Ids of images as clients send them.

3D Slicer uploads a volume that it loaded itself under the name of its node, such as
``4: CaScore 3.0``, and uses this name as the id in every later call, whatever the answer to
the upload was. Such a name becomes the same safe id each time.
"""

from typing import Annotated

from pydantic import AfterValidator

from app.intake.identifiers import distinct_id, is_safe


def image_id(name: str) -> str:
    """Return the id that a client means.

    A safe name is the id itself. One that could lead out of a folder, or cannot be printed,
    is returned as it came: no image has it, and none is registered under it.
    """
    leads_away = name.startswith(".") or "/" in name or "\\" in name
    if is_safe(name) or not name or leads_away or not name.isprintable():
        return name
    return distinct_id(name, name)


ImageId = Annotated[str, AfterValidator(image_id)]
