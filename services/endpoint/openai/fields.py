"""Fields of the OpenAI API that need more than a type."""

from typing import Any

from pydantic import BeforeValidator


def unsupported(remedy: str, *harmless: Any) -> BeforeValidator:
    """Refuse a field by its name unless it changes nothing, because without it the answer would be another one.

    Args:
        remedy: what to send instead.
        harmless: values that ask for what is done anyway; ``None`` always is one.
    """

    def check(value: Any) -> Any:
        if value is not None and value not in harmless:
            raise ValueError(f"what it asks for is not supported here — {remedy}")
        return value

    return BeforeValidator(check)


def listed(value: Any) -> Any:
    """Let one text stand for a list of one."""
    return [value] if isinstance(value, str) else value


def numbered(value: Any) -> Any:
    """Make numbers of an object's names, which in JSON are always texts."""
    if not isinstance(value, dict):
        return value
    return {_number(key): item for key, item in value.items()}


def _number(key: str) -> int | str:
    return int(key) if key.isascii() and key.isdecimal() and len(key) < 12 else key


def joined(value: Any) -> Any:
    """Join the parts of a message, which must all be text."""
    if not isinstance(value, list):
        return value
    texts = []
    for number, part in enumerate(value):
        kind = part.get("type") if isinstance(part, dict) else None
        text = part.get(kind) if isinstance(part, dict) and kind in {"text", "refusal"} else None
        if not isinstance(text, str):
            raise ValueError(f'part {number} is no text — send parts such as {{"type": "text", "text": "…"}}')
        texts.append(text)
    return "\n".join(texts)
