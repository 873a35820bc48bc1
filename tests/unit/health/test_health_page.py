"""The page says what is ready, escapes what strangers wrote, and needs no other host."""

import re
from html.parser import HTMLParser

import pytest

from services.health.collector import Knowledge
from services.health.page.render import duration_words, map_class, range_words, render_page, ruler
from services.health.page.routes import STATIC
from services.health.snapshot import MAX_BLOCKS, MAX_MODELS, STATES, take_snapshot
from services.swarm.records import ModelRecord
from tests.unit.health.swarm_fakes import model, server

NOW = 1_800_000_000.0
DASH = "\N{EN DASH}"


class Elements(HTMLParser):
    """Collects the start tags of a page with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def of_class(self, name: str) -> list[dict[str, str | None]]:
        return [attrs for _, attrs in self.found if name in (attrs.get("class") or "").split()]


def render(*records: ModelRecord, period: float = 10.0) -> str:
    return render_page(Knowledge(take_snapshot(records, NOW), error=None), period, NOW + 4)


def test_says_what_makes_a_model_ready_and_how_old_the_data_is():
    page = render(model(server()))
    assert "Models with at least one copy of each block are ready to be used." in page
    assert "4 s ago" in page
    assert "1 of 1 ready" in page
    assert "✓ Ready" in page
    assert "Not ready" not in page


def test_says_which_blocks_are_missing():
    page = render(model(server(start_block=1, end_block=2), blocks=6))
    assert "✗ Not ready" in page
    assert f"no server for 5 of 6 blocks: 0, 2{DASH}5" in page


def test_draws_each_block_with_its_copies_in_words_too():
    page = Elements(
        render(
            model(*[server(peer_id=f"p{number}", end_block=1 + number) for number in range(12)], blocks=13)
        )
    )
    cells = [attrs for attrs in page.of_class("cell") if "title" in attrs]
    assert len(cells) == 13
    assert cells[0] == {"class": "cell copies-3", "title": "block 0: 12 online"}
    assert cells[10]["class"] == "cell copies-2"
    assert cells[11]["class"] == "cell copies-1"
    assert cells[12]["class"] == "cell copies-0"


@pytest.mark.parametrize(
    ("start", "end", "before", "after"),
    [(0, 4, None, None), (1, 4, "1", None), (0, 3, None, "1"), (1, 2, "1", "2")],
)
def test_draws_a_server_over_its_blocks(start, end, before, after):
    page = render(model(server(start_block=start, end_block=end, state="joining")))
    row = page[page.index('<tr class="span"') :]
    cells = [attrs for tag, attrs in Elements(row[: row.index("</tr>")]).found if tag == "td"]
    expected = [{"colspan": before}] if before else []
    expected.append({"class": "bar joining", "colspan": str(end - start)})
    expected += [{"colspan": after}] if after else []
    assert cells == expected


def test_what_strangers_wrote_is_shown_and_never_markup():
    attack = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
    page = render(
        model(
            server(public_name=attack, version=attack, dtype=attack, quantization=attack, peer_id=attack),
            repository="https://huggingface.co/" + attack,
        )
    )
    elements = Elements(page)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert [attrs["src"] for tag, attrs in elements.found if tag == "script"] == ["static/live.js"]
    assert not [tag for tag, _ in elements.found if tag == "img"]
    assert not [name for _, attrs in elements.found for name in attrs if name.startswith("on")]


def test_has_nothing_inline_and_nothing_from_another_host():
    page = render(model(server()))
    elements = Elements(page)
    assert not [tag for tag, attrs in elements.found if tag == "style" or "style" in attrs]
    addresses = [attrs.get(name) for _, attrs in elements.found for name in ("src", "href") if name in attrs]
    assert addresses
    for address in addresses:
        assert "//" not in address
    for file in STATIC.iterdir():
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", file.read_text()), file.name


def test_every_style_of_block_and_server_is_in_the_legend_and_in_the_style_sheet():
    page = render(model(server()))
    legend = page[page.index('<ul class="legend"') : page.index("</ul>")]
    styles = (STATIC / "style.css").read_text()
    for name in ("copies-0", "copies-1", "copies-2", "copies-3", *STATES):
        assert name in legend
        assert f".{name} " in styles


@pytest.mark.parametrize(("period", "seconds"), [(0.1, "2"), (10.0, "10"), (10.2, "11")])
def test_refreshes_itself_with_and_without_script(period, seconds):
    elements = Elements(render(period=period)).found
    assert ("meta", {"http-equiv": "refresh", "content": seconds}) in elements
    assert elements[0] == ("html", {"lang": "en", "data-refresh-seconds": seconds})


def test_an_empty_swarm_has_a_page_too():
    page = render()
    assert "No model is announced in this swarm." in page
    assert "0 of 0 ready" in page


def test_a_model_without_servers_says_so():
    assert "No server announces this model now." in render(model())


def test_the_largest_allowed_swarm_gives_a_page():
    page = render(
        *[model(server(), prefix=f"m{number}", blocks=MAX_BLOCKS) for number in range(MAX_MODELS)],
        model(server(), blocks=10**9),
    )
    assert page.count('<section class="model">') == MAX_MODELS
    assert "2 more announcements are out of bounds" in page


@pytest.mark.parametrize(
    ("blocks", "words"),
    [
        ([4], "4"),
        ([0, 1, 2], f"0{DASH}2"),
        ([0, 1, 2, 7], f"0{DASH}2, 7"),
        (list(range(0, 40, 2)), "0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22 and 8 more gaps"),
    ],
)
def test_blocks_in_words(blocks, words):
    assert range_words(blocks) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.9, "59 s"), (60, "1 minute"), (7200, "2 hours"), (86400 * 3, "3 days")],
)
def test_durations_in_words(seconds, words):
    assert duration_words(seconds) == words


@pytest.mark.parametrize("blocks", [1, 4, 5, 30, 512])
def test_the_ruler_is_as_wide_as_the_map(blocks):
    assert sum(width for _, width in ruler(blocks)) == blocks


def test_long_models_scroll_instead_of_shrinking():
    assert [map_class(blocks) for blocks in (30, 56, 126, 512)] == ["short", "medium", "long", "endless"]
    styles = (STATIC / "style.css").read_text()
    for name in ("medium", "long", "endless"):
        assert f".{name} {{ min-width" in styles
