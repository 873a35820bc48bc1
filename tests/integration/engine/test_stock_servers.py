"""Our client on a chain of our server and one of stock Petals: either half speaks the other's protocol."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.swarm.spec import ModelSpec
from tests.integration.conftest import STOCK_PETALS
from tests.integration.engine.reference import plain_transformers
from tests.swarm_processes import START_SECONDS, Swarm, free_port, until

MODEL = "tiny/llama-single"


@pytest.fixture
def mixed_swarm(swarm: Swarm, stock_python: Path, tmp_path: Path) -> Iterator[Swarm]:
    """The first half of the model on our server, the second half on a stock one."""
    log = tmp_path / "stock.log"
    ours = swarm.serve(MODEL, "0:2")
    options = {
        "--initial_peers": swarm.initial_peers[0],
        "--dht_prefix": ModelSpec.find(swarm.settings(MODEL)).dht_prefix,
        "--block_indices": "2:4",
        "--host_maddrs": f"/ip4/127.0.0.1/tcp/{free_port()}",
        "--device": "cpu",
        "--torch_dtype": "float32",
        "--quant_type": "none",
        "--throughput": "1",
        "--num_handlers": "1",
        "--attn_cache_tokens": "4096",
    }
    with log.open("wb") as output:
        stock = subprocess.Popen(
            [
                *(stock_python, "-m", "petals.cli.run_server", swarm.models / MODEL),
                *(word for option in options.items() for word in option),
                *("--skip_reachability_check", "--no_auto_relay"),
            ],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(STOCK_PETALS),
                "HF_HUB_OFFLINE": "1",
                "HOME": str(tmp_path),
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )

    def served() -> bool:
        assert stock.poll() is None, log.read_text()
        return "Started" in log.read_text()

    try:
        ours.until_logged("serving")
        until(served)
        yield swarm
    finally:
        os.killpg(stock.pid, signal.SIGKILL)
        stock.wait()
        swarm.stop(ours)


def test_a_text_goes_through_both_and_back(mixed_swarm: Swarm) -> None:
    text = plain_transformers(mixed_swarm.models / MODEL, prompt=30, new=20)
    with mixed_swarm.client(MODEL) as client:
        until(lambda: client.missing_blocks() == [])

        async def there_and_back() -> list[int]:
            session = client.model.open_session(text.length)
            await session.logits(text.prompt)
            await session.logits([text.prompt[0]] * 5)
            await session.go_back(len(text.prompt))  # a stock server cannot: it hears the prompt again
            made = text.tokens[:1]
            while len(made) < len(text.tokens):
                made.append(int((await session.logits(made[-1:])).argmax()))
            assert len(session.servers) == 2
            await session.close()
            return made

        assert asyncio.run(asyncio.wait_for(there_and_back(), START_SECONDS)) == text.tokens
