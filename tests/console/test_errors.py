"""The error pages: in the pages' look, with the id to quote, also when everything else is broken."""

import pytest
from django.conf import settings
from django.template.loader import get_template
from django.test import Client
from django.urls import reverse


@pytest.mark.parametrize("path", ["/console/nothing", "/console/builds/x/y"])
def test_an_unknown_page(viewer: Client, path: str) -> None:
    answer = viewer.get(path, headers={"X-Correlation-ID": "quote-me-1"})
    assert answer.status_code == 404
    assert b"<code>quote-me-1</code>" in answer.content


def test_a_failing_page_tells_the_id_and_nothing_of_the_failure(
    viewer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer.raise_request_exception = False
    monkeypatch.setattr(settings, "NAMESPACES", None)
    answer = viewer.get("/console/", headers={"X-Correlation-ID": "quote-me-2"})
    assert answer.status_code == 500
    assert b"<code>quote-me-2</code>" in answer.content
    assert b"NAMESPACES" not in answer.content
    assert b"Traceback" not in answer.content


@pytest.mark.parametrize("name", ["400", "403", "403_csrf", "404", "500"])
def test_error_pages_need_neither_person_nor_database(name: str) -> None:
    page = get_template(f"{name}.html").render({})
    assert reverse("console:builds") in page
    assert "Sign out" not in page
