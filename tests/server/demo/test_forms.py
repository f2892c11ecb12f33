"""The form that predictions come in, as our own server writes it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidInputError
from server.demo.forms import read_form
from server.wire.multipart import form_answer


@given(st.binary(max_size=200))
def test_reads_back_what_the_server_writes(content: bytes) -> None:
    answer = form_answer({"label_names": {"LM": 1}}, content, "mask.nrrd")
    form = read_form(answer.headers["content-type"], bytes(answer.body))
    assert form.params == {"label_names": {"LM": 1}}
    assert (form.file_name, form.content) == ("mask.nrrd", content)


def test_refuses_an_answer_that_is_no_form() -> None:
    with pytest.raises(InvalidInputError, match="form of several parts"):
        read_form("application/json", b"{}")


def test_refuses_a_form_without_a_file() -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="params"\r\n\r\n{}\r\n--b--\r\n'
    with pytest.raises(InvalidInputError, match="params and a file"):
        read_form("multipart/form-data; boundary=b", body)
