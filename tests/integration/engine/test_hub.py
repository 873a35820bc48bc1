"""A server of a model on a hub: it downloads what it serves and no more, and needs the hub only once."""

from pathlib import Path

import pytest

from tests.swarm_processes import Swarm
from tests.unit.swarm.fake_hub import fake_hub

FIRST, SECOND = (f"model-0000{number}-of-00004.safetensors" for number in range(1, 3))
TOKEN = "hf_never_to_be_seen"


@pytest.fixture
def empty(tmp_path: Path) -> dict[str, str]:
    """A machine without models, with a cache of its own."""
    return {"CALYX_MODELS_DIR": str(tmp_path / "models"), "CALYX_CACHE_DIR": str(tmp_path / "cache")}


def test_only_shards_of_served_blocks_are_downloaded_and_once_only(
    swarm: Swarm, model: str, models: Path, empty: dict[str, str]
) -> None:
    with fake_hub(model, models / model) as hub:
        hub.gated = True
        online = {
            "HF_HUB_OFFLINE": "0",
            "HF_ENDPOINT": hub.url,
            "HF_TOKEN": TOKEN,
            "CALYX_LOG_LEVEL": "DEBUG",
        }

        server = swarm.serve(model, "0:2", **empty, **online)
        server.until_logged("serving blocks=0:2")
        swarm.stop(server)

        assert hub.shards == [FIRST, SECOND]
        assert f"Bearer {TOKEN}" in hub.tokens
        assert TOKEN not in server.log

    offline = swarm.serve(model, "0:2", **empty, HF_HUB_OFFLINE="1")
    offline.until_logged("serving blocks=0:2")
    swarm.stop(offline)


def test_a_model_that_the_hub_does_not_have(swarm: Swarm, models: Path, empty: dict[str, str]) -> None:
    with fake_hub("tiny/something-else", models / "tiny" / "llama-sharded") as hub:
        server = swarm.serve("tiny/nothing", **empty, HF_HUB_OFFLINE="0", HF_ENDPOINT=hub.url)

        assert server.wait() == 1

    assert server.log.splitlines()[-1].endswith(
        "reading the configuration of tiny/nothing: the hub has no such model — "
        "check CALYX_MODEL and CALYX_REVISION"
    )
