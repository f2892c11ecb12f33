"""Ids, names and JSON that nobody would send by mistake: a sentence, or no effect."""

from typing import Any

import pytest

from tests.server.conftest import Site

NAMES = (
    "../../etc/passwd", "..\\x", "/etc/passwd", "a\nb", "a\x1b[31mb", "a\u2028b", "\u202eb",
    "a" * 5000, ".", "..", "~", "CON", "'; DROP TABLE images; --", "%2e%2e%2fx", "\ud800",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_an_odd_name_is_of_nothing(name: str, site: Site) -> None:
    written = name.encode("utf-8", "surrogatepass")
    for route in ("/datastore/image", "/datastore/image/info", "/datastore/label"):
        query: dict[str, Any] = {"image": written, "label": written, "tag": written}
        answer = site.client.get(route, params=query)
        assert answer.status_code in {404, 422}
        assert answer.json()["detail"].isprintable()


@pytest.mark.parametrize(
    "path", ["/datastore/image?image=a%00b", "/session/a%00b", "/infer/calcium%00?image=x"]
)
def test_nul_in_an_address_is_refused(path: str, site: Site) -> None:
    answer = site.client.request("POST" if "infer" in path else "GET", path)
    assert (answer.status_code, answer.json()["detail"]) == (400, "expected an address without NUL")


VALUES = {
    "deep": "[" * 40 + "]" * 40,
    "deeper": "[" * 200 + "]" * 200,
    "deepest": "[" * 100_000 + "]" * 100_000,
    "huge number": "9" * 400,
    "number of 5000 digits": "9" * 5000,
    "nul": '"a\\u0000b"',
    "half a character": '"\\ud800"',
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("key", ["client_id", "x", "foreground", "label_info", "max_epochs"])
def test_odd_json_is_refused_wherever_it_comes(value: str, key: str, site: Site) -> None:
    site.upload("case")
    given = f'{{"{key}": {value}}}'
    headers = {"Content-Type": "application/json"}
    for path in ("/activelearning/random", "/train/calcium", "/train", "/batch/infer/calcium"):
        answer = site.client.post(path, content=given, headers=headers)
        assert answer.status_code in {400, 422}, (path, answer.text)
    for method, path, field in (
        ("PUT", "/datastore/image/info?image=case", "info"),
        ("PUT", "/datastore/updatelabelinfo?label=case&tag=final", "params"),
        ("POST", "/infer/lesion_click?image=case", "params"),
    ):
        answer = site.client.request(method, path, data={field: given})
        assert answer.status_code in {400, 404, 422}, (path, answer.text)
        assert answer.json()["detail"].isprintable()


@pytest.mark.parametrize("value", ["1e400", "NaN", "-Infinity"])
def test_numbers_beyond_every_number_are_refused_where_they_count(value: str, site: Site) -> None:
    answer = site.client.post(
        "/infer/lesion_click?image=x", data={"params": f'{{"foreground": [[{value}, 0, 0]]}}'}
    )
    assert answer.status_code in {404, 422}
    answer = site.client.post("/train/calcium", content=f'{{"max_epochs": {value}}}')
    assert answer.status_code in {400, 409, 422}
