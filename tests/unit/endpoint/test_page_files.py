"""The chat page's files: complete, ours alone, and served so that a browser runs nothing else."""

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

FOLDER = Path(__file__).resolve().parents[3] / "services" / "endpoint" / "page"
STATIC = sorted((FOLDER / "static").iterdir())
PAGE = (FOLDER / "index.html").read_text()


def references(text: str) -> list[str]:
    return re.findall(r"""(?:src|href)="(?!#)([^"]+)"|from "\./([^"]+)\"""", text)


def test_every_file_that_the_page_names_is_served(client: TestClient) -> None:
    named = {one or f"static/{other}" for one, other in references(PAGE)}
    for script in FOLDER.glob("static/*.js"):
        named |= {f"static/{other}" for _, other in references(script.read_text()) if other}
    assert named == {f"static/{path.name}" for path in STATIC}
    for name in named:
        assert client.get(f"/{name}").status_code == 200, name


def test_modules_are_fetched_at_once_and_not_one_after_the_other() -> None:
    preloaded = set(re.findall(r'rel="modulepreload" href="static/([^"]+)"', PAGE))
    assert preloaded == {path.name for path in STATIC if path.suffix == ".js"} - {"main.js", "theme.js"}


@pytest.mark.parametrize("path", [FOLDER / "index.html", *STATIC], ids=lambda path: path.name)
def test_no_file_names_another_host(path: Path) -> None:
    addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"']*", path.read_text()))
    assert addresses <= {"http://www.w3.org/2000/svg"}


def test_nothing_is_inline_and_no_text_becomes_markup() -> None:
    assert not re.search(r"<style|<script(?![^>]*\bsrc=)|\bstyle=|\son\w+=|javascript:", PAGE)
    for script in FOLDER.glob("static/*.js"):
        sinks = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\(|new Function"
        assert not re.search(sinks, script.read_text()), script.name


@pytest.mark.parametrize("address", ["/", "/static/main.js", "/api/v2/models", "/readyz", "/nowhere"])
def test_answers_tell_browsers_to_run_and_frame_nothing(client: TestClient, address: str) -> None:
    headers = client.get(address).headers
    policy = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "camera=()" in headers["permissions-policy"]


def test_refusals_have_the_headers_too(client: TestClient) -> None:
    answer = client.get("/", headers={"origin": "https://evil.example"})
    assert answer.status_code == 403
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


def test_browsers_keep_files_but_ask_whether_they_have_changed(client: TestClient) -> None:
    for address in ("/", "/static/main.js"):
        first = client.get(address)
        assert first.headers["cache-control"] == "no-cache"
    assert client.get(address, headers={"if-none-match": first.headers["etag"]}).status_code == 304


def test_files_beside_the_page_are_not_served(client: TestClient) -> None:
    for address in ("/static/../routes.py", "/static/%2e%2e/routes.py", "/static/"):
        assert client.get(address).status_code == 404
