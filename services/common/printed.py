"""What strangers wrote, as people may be shown it: on a page, or on a terminal, which obeys escape sequences."""


def only_printed(text: str) -> str:
    """Leave out what is not printed.

    Control characters go, and with them the power of escape sequences; so do text direction marks and surrogates.
    """
    return "".join(filter(str.isprintable, text))


def printed(text: str, limit: int) -> str:
    """Keep what is printed, without space around it, cut to ``limit`` characters."""
    kept = only_printed(text[: 4 * limit]).strip()
    return kept if len(kept) <= limit else kept[: limit - 1] + "…"
