"""The health page in Chromium: it lives, reads well on a phone and in the dark, and runs nothing of strangers."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from services.common.errors import Unavailable
from services.common.server_figures import GpuFigures, ServerFigures
from services.health.snapshot import take_snapshot
from tests.browser.health_server import HealthServer, health_server
from tests.unit.health.swarm_fakes import FakeDirectory, model, server

ARTIFACTS = Path(__file__).parents[2] / "artifacts"
ATTACK = '"><script>document.title="owned"</script><img src=x onerror="document.title=\'owned\'">'
GPU = GpuFigures(name="NVIDIA L4", memory_used_bytes=9 * 2**30, memory_total_bytes=24 * 2**30)
HUB = "https://huggingface.co/"


def swarm() -> FakeDirectory:
    """Two models, one of them incomplete, with servers in every state."""
    directory = FakeDirectory(
        [
            model(
                server(
                    peer_id="Qm-attic", end_block=18, public_name="attic", figures=ServerFigures(gpus=[GPU])
                ),
                server(
                    peer_id="Qm-cellar", start_block=12, end_block=30, public_name="cellar", throughput=42.0
                ),
                server(peer_id="Qm-garage", start_block=18, end_block=30, public_name="garage"),
                server(peer_id="Qm-guest", start_block=0, end_block=12, public_name="guest", state="joining"),
                repository=f"{HUB}HuggingFaceTB/SmolLM2-135M-Instruct",
                prefix="smol-hf",
                blocks=30,
            ),
            model(
                server(peer_id="Qm-tower", end_block=40, public_name="tower", adapters=("owner/lora",)),
                server(peer_id="Qm-hidden", start_block=40, end_block=62, public_name="hidden"),
                server(
                    peer_id="Qm-asleep",
                    start_block=62,
                    end_block=80,
                    public_name="asleep",
                    state="offline",
                    figures=ServerFigures(paused=True),
                ),
                server(peer_id="Qm-gone", start_block=62, end_block=80, public_name=None, state="offline"),
                repository=f"{HUB}meta-llama/Llama-3.1-70B-Instruct",
                prefix="llama-hf",
                blocks=80,
            ),
        ]
    )
    directory.problems = {"Qm-hidden": "it does not answer within 5 s: a firewall may block its port"}
    directory.entrances = {"QmBootstrapOne": None}
    return directory


def remember_hours(running: HealthServer) -> None:
    """Fill the plot with some hours in which servers came and went."""
    now = time.time()
    for minute in range(300, 0, -1):
        servers = [
            server(peer_id=f"p{one}", start_block=0, end_block=30) for one in range(1 + minute // 70 % 4)
        ]
        some = [] if 150 < minute < 170 else servers
        record = model(*some, repository=f"{HUB}HuggingFaceTB/SmolLM2-135M-Instruct", blocks=30)
        running.collector.history.record(take_snapshot([record], now).models, now - 60 * minute)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def running() -> Iterator[HealthServer]:
    with health_server(swarm()) as one:
        yield one


@pytest.fixture
def visit(chromium: Browser, running: HealthServer) -> Iterator[Any]:
    """Open the page in a new window; nothing but its own host may be asked, and no console may complain."""
    complaints: list[str] = []
    contexts = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error":
            complaints.append(message.text)

    def visit(**options: Any) -> Page:
        context = chromium.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", note)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request", lambda request: request.url.startswith(running.url) or complaints.append(request.url)
        )
        page.goto(running.url)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert complaints == []


def test_says_at_a_glance_what_can_be_used(visit):
    page = visit()
    expect(page.locator(".summary")).to_contain_text("1 of 2 models ready")
    expect(
        page.get_by_text("Models with at least one copy of each block are ready to be used.")
    ).to_be_visible()
    ready, broken = page.locator(".model").all()
    expect(ready.locator(".verdict")).to_have_text("✓ Ready all 30 blocks have a copy")
    expect(broken.locator(".verdict")).to_contain_text("no server for 40 of 80 blocks: 40\N{EN DASH}79")
    expect(page.locator(".issues")).to_contain_text("What to do: let its TCP port")
    expect(page.locator(".contributors li")).to_have_count(4)
    expect(page.locator(".legend li")).to_have_count(9)


def test_each_state_has_a_shape_and_a_word_beside_its_colour(visit):
    page = visit()
    marks = page.locator(".state").all_inner_texts()
    assert {text.strip() for text in marks} == {
        "● online",
        "◐ joining",
        "✖ unreachable",
        "‖ paused",
        "○ offline",
    }


def test_changes_by_itself_and_keeps_where_its_reader_is(visit, running):
    page = visit(viewport={"width": 500, "height": 800})
    page.evaluate("document.getElementById('map-2').scrollLeft = 150")
    first, second = running.directory.records
    newcomer = server(peer_id="Qm-new", start_block=40, end_block=80)
    running.directory.records = [first, replace(second, servers=(*second.servers, newcomer))]
    expect(page.locator(".summary")).to_contain_text("2 of 2 models ready")
    assert page.title() == "2 of 2 ready · Calyx health"
    assert page.evaluate("document.getElementById('map-2').scrollLeft") == 150


def test_a_server_that_goes_is_named_until_it_is_forgotten(visit, running):
    page = visit()
    expect(page.locator(".departed")).to_have_count(0)
    running.directory.records = running.directory.records[:1]
    expect(page.locator(".departed")).to_contain_text("tower …Qm-tower vanished without a word")
    expect(page.locator(".departed")).to_contain_text("asleep …m-asleep was paused")


def test_a_silent_swarm_is_said_beside_what_was_last_seen(visit, running):
    page = visit()
    running.directory.failure = Unavailable("reading the swarm: no peer answered")
    expect(page.locator(".error")).to_contain_text("no peer answered")
    expect(page.locator(".model")).to_have_count(2)


def test_says_that_the_exporter_is_gone(chromium):
    with health_server(swarm()) as one:
        page = chromium.new_page()
        page.goto(one.url)
        expect(page.locator(".model")).to_have_count(2)
    expect(page.locator("#lost")).to_be_visible(timeout=15_000)
    page.close()


def test_what_strangers_wrote_stays_text(visit, running):
    page = visit()
    running.directory.records = [
        model(
            server(
                public_name=ATTACK, version=ATTACK, dtype=ATTACK, adapters=(ATTACK,), next_pings={ATTACK: 1.0}
            ),
            repository=f"{HUB}{ATTACK}",
        )
    ]
    running.directory.problems = {"12D3KooWExamplePeer1": ATTACK}
    expect(page.locator(".issues .problem")).to_contain_text("<script>")
    expect(page.locator(".who b")).to_contain_text("<script>")
    assert page.locator("main img, main script").count() == 0
    assert "owned" not in page.title()


def test_without_script_it_shows_the_same(chromium, running):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(running.url)
    expect(page.locator(".model")).to_have_count(2)
    context.close()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("desktop-light", {"viewport": {"width": 1280, "height": 900}}),
        ("desktop-dark", {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"}),
        ("phone-light", {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2}),
        ("phone-dark", {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}),
    ],
)
def test_fits_its_screen(visit, running, name, options):
    remember_hours(running)
    page = visit(**options)
    expect(page.locator(".history figcaption").first).to_contain_text("% of the last 5 hours")
    too_wide = page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"health-{name}.png", full_page=True)
    assert not too_wide, "maps scroll inside themselves, the page never sideways"
