"""The swarm in a terminal: narrow, without colours, in ASCII, and named by strangers."""

import io
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from scripts.helper.swarm import SwarmState, read_swarm
from scripts.helper.swarm_text import ASCII, UNICODE, Signs, swarm_lines

NOW = 1_800_000_000.0
FIGURES = {
    "tokens_total": 4000,
    "batches_total": 1000,
    "queued_steps": 2,
    "gpus": [
        {
            "name": "RTX 4060",
            "memory_used_bytes": 6 * 1024**3,
            "memory_total_bytes": 8 * 1024**3,
            "utilization": 0.5,
        }
    ],
}


def server(**values: Any) -> dict[str, Any]:
    ordinary = {
        "peer_id": "12D3KooWExamplePeer1",
        "state": "online",
        "start_block": 0,
        "end_block": 4,
        "public_name": "shelf",
        "cache_tokens_left": 16384,
    }
    return ordinary | values


def model(*servers: dict[str, Any], copies: list[int], **values: Any) -> dict[str, Any]:
    missing = [block for block, number in enumerate(copies) if not number]
    return {
        "name": "a/b",
        "num_blocks": len(copies),
        "healthy": not missing,
        "missing_blocks": missing,
        "blocks": copies,
        "servers": list(servers),
        **values,
    }


def lines(
    *models: dict[str, Any],
    width: int = 100,
    height: int | None = None,
    signs: Signs = UNICODE,
    **state: Any,
) -> list[Text]:
    swarm, read = read_swarm({"age_seconds": 4.2, "error": None, "departed": [], **state, "models": models})
    return swarm_lines(swarm, read, NOW, width=width, height=height, signs=signs)


def plain(*models: dict[str, Any], **values: Any) -> list[str]:
    return [line.plain.rstrip() for line in lines(*models, **values)]


def test_a_model_its_blocks_and_its_servers() -> None:
    shelf = server(start_block=0, end_block=3, tokens_per_second=12.34, figures=FIGURES)
    stranger = server(
        start_block=1, end_block=3, public_name=None, state="unreachable", problem="dial refused"
    )
    stock = server(
        start_block=3, end_block=4, public_name="old", throughput=7.0, cache_tokens_left=None, state="joining"
    )

    assert plain(model(shelf, stranger, stock, copies=[1, 2, 3, 0])) == [
        "swarm     seen 4 seconds ago",
        "model     a/b: 3 of 4 blocks on 3 servers, missing 3",
        "          ▒██·",
        "          ━━━   ● shelf online 0-2",
        "            12.3 tokens/s, batches of 4.0, 2 steps wait, room for 16,384 tokens, RTX 4060 6.0 of 8.0",
        "            GiB, 50% busy",
        "           ━━   ✖ …plePeer1 unreachable 1-2",
        "            room for 16,384 tokens, dial refused",
        "             ━  ◐ old joining 3-3",
        "            announces 7.0 tokens/s per block",
        "signs     █ several copies  ▒ one copy  · none  ● online  ◐ joining  ✖ unreachable  ‖ paused",
        "          ○ offline",
    ]


def test_a_deep_model_is_drawn_in_groups_of_which_the_rarest_block_counts() -> None:
    copies = [2] * 126
    copies[125], copies[50] = 0, 1
    drawn = plain(model(server(start_block=62, end_block=126), copies=copies), width=80)

    cells = drawn[2].split()[0]
    assert drawn[2] == f"          {cells}  5 blocks each"
    assert cells == "█" * 10 + "▒" + "█" * 14 + "·"
    assert drawn[3].startswith("          " + " " * 12 + "━" * 14 + "  ● shelf")


def test_nothing_is_wider_than_a_narrow_terminal_but_the_name_of_the_model() -> None:
    drawn = plain(model(server(figures=FIGURES, tokens_per_second=1.0), copies=[1] * 126), width=40)

    assert drawn[2].startswith("  ▒")
    assert drawn[4] == "  ● shelf online 0-3"
    assert all(len(line) <= 40 for line in drawn[2:])


def test_signs_tell_without_colours_what_colours_tell() -> None:
    for signs in (UNICODE, ASCII):
        assert len(set(signs.copies)) == 3
        shown = {
            state: signs.states[state] for state in ("online", "joining", "unreachable", "paused", "offline")
        }
        assert len(set(shown.values())) == 5
        legend = " ".join(plain(model(copies=[1]), signs=signs)).replace("          ", "")
        assert all(f"{sign} {state}" in legend for state, sign in shown.items())


@pytest.mark.parametrize(
    ("encoding", "signs"), [("utf-8", UNICODE), ("UTF8", UNICODE), ("ascii", ASCII), ("iso8859-1", ASCII)]
)
def test_a_terminal_gets_signs_that_it_can_show(encoding: str, signs: Signs) -> None:
    assert Signs.of(encoding) is signs
    if signs is ASCII:
        gone = {**server(state="lost", public_name=None), "model": "a/b", "left_at": NOW - 90}
        "".join(plain(model(server(), copies=[0, 1, 2]), signs=signs, departed=[gone])).encode(encoding)


def test_what_strangers_wrote_commands_no_terminal_and_is_no_markup() -> None:
    attack = "\x1b[2J\x1b]0;owned\x07[red]x[/red]\r\n\u202e\x9b31m"
    gpu = {"name": attack, "memory_used_bytes": 1, "memory_total_bytes": 2}
    one = server(public_name=attack, peer_id=attack, problem=attack, state=attack, figures={"gpus": [gpu]})
    gone = {**server(public_name=attack, peer_id=attack, state=attack), "model": attack, "left_at": NOW}
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=False, width=200)

    for line in lines(model(one, copies=[1], name=attack), departed=[gone], error=attack, width=200):
        console.print(line, soft_wrap=True)

    assert "[red]x[/red]" in shown.getvalue()
    assert {character for character in shown.getvalue() if not character.isprintable()} == {"\n"}


def test_colours_are_left_out_where_nobody_wants_them() -> None:
    shown = {}
    for no_color in (False, True):
        file = io.StringIO()
        console = Console(
            file=file, force_terminal=True, no_color=no_color, color_system="standard", width=100
        )
        for line in lines(model(server(), copies=[0, 1, 2])):
            console.print(line)
        shown[no_color] = file.getvalue()

    assert "\x1b[33m" in shown[False]
    assert "\x1b[3" not in shown[True]
    assert "·▒█" in shown[True].replace("\x1b[1m", "").replace("\x1b[0m", "")


def test_a_silent_swarm_is_shown_with_its_age() -> None:
    assert plain(age_seconds=125.0, error="no peer answers")[0] == (
        "swarm     does not answer, what follows is 2 minutes old: no peer answers"
    )
    assert plain(age_seconds=None, error="not checked yet") == ["swarm     was not seen yet: not checked yet"]
    assert plain()[1] == "model     none is announced in this swarm"


def test_a_health_service_that_does_not_answer_and_one_that_speaks_otherwise() -> None:
    (unknown,) = swarm_lines(None, [], NOW, width=80)
    assert unknown.plain == "model     unknown: the health service does not answer"
    for answer in ({"models": [{"name": "a"}]}, {"models": 7}, {"age_seconds": "long"}):
        swarm, models = read_swarm(answer)
        assert models == []
        assert swarm == SwarmState(error="the health service is of another version; `up` makes it anew")


def test_who_left_is_shown() -> None:
    gone = {**server(state="paused"), "model": "a/b", "left_at": NOW - 180}

    assert plain(departed=[gone])[-1] == "gone      ‖ shelf was paused 3 minutes ago: blocks 0-3 of a/b"


def test_a_crowd_is_cut_to_the_height_of_the_screen() -> None:
    crowd = [model(*[server() for _ in range(300)], copies=[300] * 4) for _ in range(2)]

    assert len(lines(*crowd, height=40)) <= 40
    assert sum("shelf" in line for line in plain(*crowd)) == 128
    assert "          and 236 more servers" in plain(*crowd)
    assert any("more servers" in line for line in plain(*crowd, height=1))


def test_wide_names_are_cut_by_columns() -> None:
    (row,) = [line for line in plain(model(server(public_name="本" * 40), copies=[1])) if "本" in line]

    assert row.count("本") == 8
