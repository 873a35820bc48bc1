"""The join token's text: what it carries, and what each way to damage it is called."""

import binascii
import json
from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import InvalidInput
from services.common.token import JoinToken

TOKEN = JoinToken("calyx", "seed.example:7443", "ab" * 32, "87fcd5e10f84", "s3cret-of-32-random-bytes")


def wrapped(document: object) -> str:
    """Return a token text with a right checksum, whatever it holds."""
    content = json.dumps(document).encode()
    raw = content + binascii.crc32(content).to_bytes(4, "big")
    return "calyx1_" + urlsafe_b64encode(raw).decode().rstrip("=")


def test_it_is_read_as_it_was_written() -> None:
    assert JoinToken.parse(TOKEN.text()) == TOKEN


@given(st.text(min_size=1), st.text(min_size=1))
def test_any_text_survives(pool: str, secret: str) -> None:
    token = JoinToken(pool, "[2001:db8::1]:1", "0" * 64, "id", secret)

    assert JoinToken.parse(token.text()) == token


def test_its_text_can_be_pasted_anywhere() -> None:
    assert TOKEN.text().startswith("calyx1_")
    assert set(TOKEN.text()) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


def test_the_secret_is_not_shown() -> None:
    assert TOKEN.secret not in repr(TOKEN)


def test_white_space_of_terminals_and_mails_is_ignored() -> None:
    text = TOKEN.text()

    assert JoinToken.parse(f"  {text[:40]}\n   {text[40:]}\r\n") == TOKEN


@pytest.mark.parametrize("text", ["", "hello", "calyx", "calyx1", "calyx_abc", "kalavai1_abc", "xcalyx1_abc"])
def test_something_else_is_no_token(text: str) -> None:
    with pytest.raises(InvalidInput, match="this is not a token of Calyx"):
        JoinToken.parse(text)


def test_a_foreign_version_is_named() -> None:
    with pytest.raises(InvalidInput, match="its version is 2, this Calyx reads version 1"):
        JoinToken.parse(TOKEN.text().replace("calyx1_", "calyx2_"))


@pytest.mark.parametrize("length", [7, 8, 20, -20, -4, -3, -2, -1])
def test_a_cut_token_is_called_cut(length: int) -> None:
    with pytest.raises(InvalidInput, match="cut off or mistyped"):
        JoinToken.parse(TOKEN.text()[:length])


def test_every_mistyped_character_is_seen() -> None:
    text = TOKEN.text()
    for place in range(len("calyx1_"), len(text)):
        other = "A" if text[place] != "A" else "B"
        with pytest.raises(InvalidInput, match="cut off or mistyped"):
            JoinToken.parse(text[:place] + other + text[place + 1 :])


@pytest.mark.parametrize("foreign", ["!", "=", "ü", "\N{NULL}", "+"])
def test_a_foreign_character_is_called_mistyped(foreign: str) -> None:
    with pytest.raises(InvalidInput, match="cut off or mistyped"):
        JoinToken.parse(TOKEN.text()[:30] + foreign + TOKEN.text()[30:])


def test_an_endless_text_is_refused() -> None:
    with pytest.raises(InvalidInput, match="cut off or mistyped"):
        JoinToken.parse("calyx1_" + "A" * 1_000_000)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"secret": ""}, "incomplete"),
        ({"id": 7}, "incomplete"),
        ({"pin": "AB" * 32}, "pins no certificate"),
        ({"authority": "seed.example"}, "names no address"),
        ({"authority": "seed.example:70000"}, "names no address"),
        ({"authority": "a b:1"}, "names no address"),
    ],
)
def test_a_content_that_cannot_work_is_refused(change: dict[str, object], problem: str) -> None:
    document = {"pool": "p", "authority": "h:1", "pin": "0" * 64, "id": "i", "secret": "s", **change}

    with pytest.raises(InvalidInput, match=problem):
        JoinToken.parse(wrapped(document))


@pytest.mark.parametrize("document", [{}, [], None, "text", 5])
def test_another_document_is_incomplete(document: object) -> None:
    with pytest.raises(InvalidInput, match="incomplete"):
        JoinToken.parse(wrapped(document))


def test_fields_of_later_minor_versions_are_passed_over() -> None:
    document = {"pool": "p", "authority": "h:1", "pin": "0" * 64, "id": "i", "secret": "s", "new": 1}

    assert JoinToken.parse(wrapped(document)).pool == "p"


def test_no_message_quotes_the_token() -> None:
    for text in (TOKEN.text()[:-1], TOKEN.text().replace("calyx1", "calyx9"), TOKEN.text()[3:]):
        with pytest.raises(InvalidInput) as caught:
            JoinToken.parse(text)
        assert TOKEN.text()[40:60] not in str(caught.value)
