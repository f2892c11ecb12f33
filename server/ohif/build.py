"""The files of the OHIF viewer, with their types, and how long browsers may keep them."""

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from fastapi.responses import FileResponse, HTMLResponse, Response

from app.errors import NotFoundError
from app.settings import Settings
from server.pages import render

_PACKAGE: Final = "monailabel"
"""The Python package that carries a build of OHIF with the panel of MONAI Label."""

_PLACE: Final = Path("endpoints", "static", "ohif")
"""Where the build lies in it."""

_CONFIG: Final = Path(__file__).with_name("app-config.js")

_TYPES: Final[Mapping[str, str]] = {
    ".css": "text/css",
    ".html": "text/html",
    ".ico": "image/x-icon",
    ".js": "text/javascript",
    ".json": "application/json",
    ".map": "application/json",
    ".mjs": "text/javascript",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".webapp": "application/manifest+json",
    ".xml": "application/xml",
}
"""Types by ending; those of the system differ from machine to machine."""

_HASHED: Final = re.compile(r"(^|\.)[0-9a-f]{16,}\.")
"""A name that changes with the content."""

_FOREVER: Final = {"Cache-Control": "public, max-age=31536000, immutable"}

_EACH_TIME: Final = {"Cache-Control": "no-cache"}

_POLICY: Final = {
    "Content-Security-Policy": (
        "default-src 'self' blob: data:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:;"
        " style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'self';"
        " frame-ancestors 'self'"
    ),
    "Referrer-Policy": "same-origin",
}
"""The viewer talks to this server and to nobody else."""

_EXTERNAL_LINK: Final = re.compile(r'<link\b[^>]*href="https?://[^>]*>')
"""Fonts from hosts that a hospital cannot reach, as pages ask for them."""

_EXTERNAL_IMPORT: Final = re.compile(r"@import url\(https?://[^)]*\);")
"""The same, as style sheets ask for them."""


def find_build(settings: Settings) -> Path | None:
    """Return the folder of the build: of the settings, or of the package, or None.

    The package is found without importing it: its import has side effects.
    """
    if settings.ohif is not None:
        folders = [settings.ohif]
    else:
        found = importlib.util.find_spec(_PACKAGE)
        places = (found.submodule_search_locations if found else None) or ()
        folders = [Path(place, _PLACE) for place in places]
    return next((folder for folder in folders if (folder / "index.html").is_file()), None)


def file_answer(settings: Settings, path: str) -> Response:
    """Answer with a file of the build; other paths are the viewer's own pages.

    Raises:
        NotFoundError: If the build has no such file.
    """
    folder = find_build(settings)
    if folder is None:
        return HTMLResponse(
            render("ohif_missing.html", is_by_setting=settings.ohif is not None), 503
        )
    if path == _CONFIG.name:
        return FileResponse(_CONFIG, media_type=_TYPES[".js"], headers=_EACH_TIME)
    if path in ("", "index.html") or _is_page(path):
        return _page(folder)
    return _file(folder, path)


def _is_page(path: str) -> bool:
    """Tell a page of the viewer, whose name may end in a UID, from a file."""
    _, dot, ending = path.rpartition("/")[2].rpartition(".")
    return not dot or ending.isdecimal()


def _page(folder: Path) -> Response:
    html = (folder / "index.html").read_text(encoding="utf-8")
    return HTMLResponse(_EXTERNAL_LINK.sub("", html), headers={**_EACH_TIME, **_POLICY})


def _file(folder: Path, path: str) -> Response:
    root = folder.resolve()
    # Asking the system for a name with a null byte is an error.
    file = root if "\0" in path else (root / path).resolve()
    if not file.is_relative_to(root) or not file.is_file():
        raise NotFoundError("the OHIF build has no such file")
    media_type = _TYPES.get(file.suffix.lower(), "application/octet-stream")
    if file.suffix == ".css":
        text = _EXTERNAL_IMPORT.sub("", file.read_text(encoding="utf-8"))
        return Response(text, media_type=media_type, headers=_EACH_TIME)
    if path == "manifest.json":
        # Its icons are named as if the viewer were at the root of the host.
        text = file.read_text(encoding="utf-8").replace('"/assets/', '"/ohif/assets/')
        return Response(text, media_type=media_type, headers=_EACH_TIME)
    headers = _FOREVER if _HASHED.search(file.name) else _EACH_TIME
    return FileResponse(file, media_type=media_type, headers=headers)
