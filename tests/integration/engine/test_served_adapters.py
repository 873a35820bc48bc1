"""LoRA adapters over two servers: each session gets the text of its own, and servers without them are passed by."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, PreTrainedModel

import services.swarm  # noqa: F401 - Petals works behind the patches alone
from tests.blocking_client import BlockingClient
from tests.integration.engine.reference import Text, continue_greedily, plain_transformers
from tests.swarm_processes import Swarm, until_served
from tests.unit.swarm.tiny_adapters import save_tiny_adapter
from tests.unit.swarm.tiny_sizes import VOCABULARY

MODEL = "tiny/llama-sharded"
POET, CLERK = "tiny/poet-v1.0", "tiny/clerk"
PROMPTS = (70, 5, 1)
NEW = 12
SECONDS = 120


@pytest.fixture(scope="module")
def adapters(models: Path) -> None:
    for seed, name in enumerate((POET, CLERK)):
        save_tiny_adapter(models / name, models / MODEL, seed=seed)


@pytest.fixture(scope="module")
def client(swarm: Swarm, adapters: None) -> Iterator[BlockingClient]:
    """A client of two servers with adapters, and of a third one without, which has all blocks."""
    how = {"CALYX_SCHEDULER": "batched", "CALYX_ADAPTERS": f"{POET} {CLERK}"}
    servers = [swarm.serve(MODEL, blocks, **how) for blocks in ("0:2", "2:4")]
    servers.append(swarm.serve(MODEL, "0:4"))
    for server in servers:
        server.until_logged("serving")
    with swarm.client(MODEL) as one:
        until_served(one)
        yield one
    swarm.stop(*servers)


@pytest.fixture(scope="module")
def adapted(client: BlockingClient) -> Iterator[dict[str, BlockingClient]]:
    """The client, and it with each adapter, by the adapter's name."""
    found = {name: BlockingClient(client.model.with_adapter(name)) for name in (POET, CLERK)}
    for one in found.values():
        until_served(one)
    yield {"": client} | found
    for one in found.values():
        one.model.close()


def with_peft(swarm: Swarm, adapter: str, length: int) -> Text:
    def add(model: PreTrainedModel) -> None:
        if adapter:
            PeftModel.from_pretrained(model, str(swarm.models / adapter)).eval()

    return plain_transformers(swarm.models / MODEL, prompt=length, new=NEW, change=add)


def follow(client: BlockingClient, text: Text) -> list[int]:
    session = client.open_session(text.length)
    try:
        first = int(session.step(text.prompt).argmax())
        return [first, *continue_greedily(session, first, NEW - 1)]
    finally:
        session.close()


def test_texts_at_once_are_each_that_of_peft(swarm: Swarm, adapted: dict[str, BlockingClient]) -> None:
    texts = [(adapter, with_peft(swarm, adapter, length)) for adapter in adapted for length in PROMPTS]
    assert len({tuple(text.tokens) for _, text in texts}) == len(texts)

    with ThreadPoolExecutor(len(texts)) as threads:
        made = list(threads.map(lambda one: follow(adapted[one[0]], one[1]), texts, timeout=SECONDS))

    assert made == [text.tokens for _, text in texts]


def test_an_adapter_that_nobody_has(client: BlockingClient) -> None:
    nobody = client.model.with_adapter("tiny/nobody")
    try:
        assert nobody.missing_blocks() == [0, 1, 2, 3]
    finally:
        nobody.close()


def test_petals_own_interface_takes_adapters_and_their_gradients(
    swarm: Swarm, adapted: dict[str, BlockingClient]
) -> None:
    from petals import AutoDistributedModelForCausalLM  # noqa: PLC0415 - after the patches

    model = AutoDistributedModelForCausalLM.from_pretrained(
        str(swarm.models / MODEL),
        initial_peers=swarm.initial_peers,
        dht_prefix="llama-sharded-hf",
        active_adapter=POET,
    )
    base = AutoModelForCausalLM.from_pretrained(swarm.models / MODEL, dtype=torch.float32)
    embeddings = base.get_input_embeddings()
    whole = PeftModel.from_pretrained(base, str(swarm.models / POET)).eval()
    prompts = torch.randint(2, VOCABULARY, (2, 9), generator=torch.Generator().manual_seed(0))
    wanted = {"do_sample": False, "max_new_tokens": 8, "pad_token_id": 0}
    gradients = []
    for one in (model, whole):
        inputs = embeddings(prompts).detach().requires_grad_()
        one(inputs_embeds=inputs, use_cache=False).logits.square().mean().backward()
        gradients.append(inputs.grad)
    made = model.generate(prompts, **wanted).tolist()
    sequence = model.base_model.layers[0].remote.sequence_manager
    sequence.shutdown()
    sequence.dht.shutdown()

    assert made == whole.generate(input_ids=prompts, **wanted).tolist()
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-5)
