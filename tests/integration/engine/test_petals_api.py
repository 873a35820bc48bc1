"""Petals' own programming interface on our swarm: batches, beams and gradients equal those of the whole model."""

from collections.abc import Iterator

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

import services.swarm  # noqa: F401 - Petals works behind the patches alone
from tests.swarm_processes import Swarm, until_served
from tests.unit.swarm.tiny_sizes import VOCABULARY

MODEL = "tiny/llama-3.1-sharded"


@pytest.fixture(scope="module", params=["stock", "batched"])
def distributed(request: pytest.FixtureRequest, swarm: Swarm) -> Iterator[PreTrainedModel]:
    """The model with its blocks on two servers, as a user of Petals makes it."""
    from petals import AutoDistributedModelForCausalLM  # noqa: PLC0415 - after the patches

    servers = [swarm.serve(MODEL, blocks, CALYX_SCHEDULER=request.param) for blocks in ("0:2", "2:4")]
    with swarm.client(MODEL) as client:
        until_served(client)
    model = AutoDistributedModelForCausalLM.from_pretrained(
        str(swarm.models / MODEL), initial_peers=swarm.initial_peers, dht_prefix="llama-3-1-sharded-hf"
    )
    yield model
    sequence = model.base_model.layers[0].remote.sequence_manager
    sequence.shutdown()
    sequence.dht.shutdown()
    swarm.stop(*servers)


@pytest.fixture(scope="module")
def whole(swarm: Swarm) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(swarm.models / MODEL, dtype=torch.float32)


@pytest.fixture(scope="module")
def prompts() -> torch.Tensor:
    return torch.randint(2, VOCABULARY, (3, 12), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("how", [{}, {"num_beams": 3}, {"num_beams": 4, "num_return_sequences": 2}])
def test_a_batch_of_texts(
    distributed: PreTrainedModel, whole: PreTrainedModel, prompts: torch.Tensor, how: dict[str, int]
) -> None:
    wanted = {"do_sample": False, "max_new_tokens": 16, "pad_token_id": 0} | how

    assert distributed.generate(prompts, **wanted).tolist() == whole.generate(prompts, **wanted).tolist()


def test_gradients_pass_through_the_swarm(
    distributed: PreTrainedModel, whole: PreTrainedModel, prompts: torch.Tensor
) -> None:
    losses, gradients = [], []
    for model in (distributed, whole):
        inputs = whole.get_input_embeddings()(prompts).detach().requires_grad_()
        loss = torch.nn.functional.cross_entropy(
            model(inputs_embeds=inputs, use_cache=False).logits[:, :-1].flatten(0, 1),
            prompts[:, 1:].flatten(),
        )
        loss.backward()
        losses.append(loss.detach())
        gradients.append(inputs.grad)

    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-5)
