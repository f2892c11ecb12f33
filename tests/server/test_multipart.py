"""The two-part form, byte for byte."""

import re

from hypothesis import given
from hypothesis import strategies as st

from server.wire.multipart import file_headers, form_answer


def test_is_laid_out_as_the_clients_expect() -> None:
    answer = form_answer({"a": 1}, b"\x00\r\nimage", "x.nrrd")
    boundary = answer.headers["content-type"].removeprefix("multipart/form-data; boundary=")
    assert re.fullmatch("[0-9a-f]{32}", boundary)
    assert answer.body == (
        b"--" + boundary.encode() + b"\r\n"
        b'Content-Disposition: form-data; name="params"\r\n'
        b"Content-Type: application/json\r\n\r\n"
        b'{"a": 1}\r\n'
        b"--" + boundary.encode() + b"\r\n"
        b'Content-Disposition: form-data; name="image"; filename="x.nrrd"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n"
        b"\x00\r\nimage\r\n"
        b"--" + boundary.encode() + b"--\r\n"
    )


@given(st.binary(max_size=200))
def test_any_bytes_are_sent_with_their_length(content: bytes) -> None:
    answer = form_answer({}, content, "x.nrrd")
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert content in bytes(answer.body)


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_a_file_name_stays_one_plain_ascii_parameter(name: str) -> None:
    header = file_headers(name)["Content-Disposition"]
    match = re.fullmatch('attachment; filename="([ -~]*)"', header)
    assert match
    assert '"' not in match[1]
