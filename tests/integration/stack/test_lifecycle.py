"""The helper's commands on a real stack, as the README shows them."""

import json
import re

from tests.integration.stack.pool import BLOCKS, MODEL, Finished, Pool

SERVICES = {"vpn", "bootstrap", "server", "endpoint", "health"}


def test_up_ends_with_what_a_user_needs(first_up: tuple[Pool, Finished]) -> None:
    pool, done = first_up
    end = done.out[done.out.index(f"{MODEL} answers") :]

    assert "The capital of France is Paris" in end
    assert re.search(r"\b16 tokens in [\d.]+ s, [\d.]+ tokens/s\n", end)
    assert f"http://{pool.endpoint}" in end
    assert f"ws://{pool.endpoint}/api/v2/generate" in end
    assert f"http://{pool.health}" in end


def test_up_on_a_running_stack_changes_nothing(pool: Pool) -> None:
    before = pool.starts()

    again = pool.up()

    assert pool.starts() == before
    assert before.keys() == SERVICES
    assert f"{MODEL} answers" in again.out


def test_status_tells_programs_what_runs(pool: Pool) -> None:
    done = pool.calyx("status", "--json")
    status = json.loads(done.out)

    assert done.code == 0
    assert status["running"] is True
    assert status["endpoint"] == f"http://{pool.endpoint}"
    assert {service["name"] for service in status["services"]} == SERVICES
    (model,) = status["models"]
    (server,) = model.pop("holders")
    assert model == {
        "name": MODEL,
        "blocks": BLOCKS,
        "online_blocks": BLOCKS,
        "missing_blocks": [],
        "healthy": True,
        "servers": 1,
        "copies": [1] * BLOCKS,
    }
    assert (server["state"], server["start_block"], server["end_block"]) == ("online", 0, BLOCKS)


def test_status_tells_people_what_runs(pool: Pool) -> None:
    done = pool.calyx("status")

    assert done.code == 0
    assert f"{MODEL}: 30 of 30 blocks on 1 server" in done.out


def test_logs_show_services_under_their_names(pool: Pool) -> None:
    every = pool.calyx("logs")
    one = pool.calyx("logs", "server", "--tail", "3")

    assert {line.split(" | ")[0].strip() for line in every.out.splitlines()} == SERVICES
    assert 1 <= len(one.out.splitlines()) <= 3
    assert all(line.startswith("server | ") for line in one.out.splitlines())


def test_logs_of_a_service_that_is_not_there(pool: Pool) -> None:
    assert "there is no service 'nonsense'" in pool.calyx("logs", "nonsense").error


def test_chat_answers(pool: Pool) -> None:
    done = pool.calyx("chat", "Name the capital of France.")

    assert done.code == 0, done.err
    assert "Paris" in done.out


def test_doctor_finds_a_machine_that_runs_the_stack_fit(pool: Pool) -> None:
    done = pool.calyx("doctor", "--json")
    verdicts = {check["name"]: check["verdict"] for check in json.loads(done.out)}

    assert done.code == 0, done.out
    assert verdicts["Docker engine"] == verdicts["ports"] == "ok"


def test_down_removes_and_up_brings_back_the_same_peers(pool: Pool) -> None:
    peers = pool.read("bootstrap", "/pool/initial_peers").split("/p2p/")[-1]
    server = pool.state()["servers"][0]["peer_id"]

    first, second = pool.calyx("down"), pool.calyx("down")
    gone = pool.containers()
    pool.up("--no-build")

    assert (first.code, second.code, gone) == (0, 0, {})
    assert "Nothing runs, nothing was removed" in second.out
    assert pool.read("bootstrap", "/pool/initial_peers").split("/p2p/")[-1] == peers
    assert server in [entry["peer_id"] for entry in pool.state()["servers"]]
    pool.works()
