"""LoRA adapters on blocks compute what peft computes on the whole model, each for those who ask for it."""

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from petals.data_structures import InferenceMetadata
from petals.utils.misc import DUMMY_INT64
from transformers import AutoModelForCausalLM

from services.common.errors import InvalidInput
from services.swarm.family.quantized import Quantization, quantize
from services.swarm.serving.backend import BlockBackend
from services.swarm.serving.batching_pool import BatchingPool
from services.swarm.serving.channels import Channels
from services.swarm.serving.packed_check import differs_in_batches
from services.swarm.serving.pool import Task, _unpack
from services.swarm.serving.scheduler import Step
from services.swarm.serving.usage import Usage
from tests.unit.swarm.batch_server import ALL, BUDGET, CPU, HIDDEN, Parts, Server, make_parts, make_server
from tests.unit.swarm.served import FakeMemory
from tests.unit.swarm.tiny_adapters import save_tiny_adapter
from tests.unit.swarm.tiny_models import save_tiny_model
from tests.unit.swarm.tiny_sizes import VOCABULARY

POET, CLERK = "tiny/poet-v1.0", "tiny/clerk"
ADAPTERS = ("", POET, CLERK)
PROMPT, NEW = BUDGET + 5, 6
WAYS: tuple[Quantization, ...] = ("none", "int8", "nf4")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models and adapters; one adapter leaves some blocks as they are and has ranks of its own."""
    folder = tmp_path_factory.mktemp("adapters")
    model = save_tiny_model(folder / "tiny" / "model", "llama-3.1")
    save_tiny_adapter(folder / POET, model)
    save_tiny_adapter(
        folder / CLERK,
        model,
        seed=1,
        use_rslora=True,
        target_modules=["o_proj", "v_proj", "up_proj"],
        layers_to_transform=[1, 2],
        rank_pattern={"layers.1.self_attn.o_proj": 2},
        alpha_pattern={"up_proj": 3},
    )
    return folder


@pytest.fixture(scope="module", params=WAYS)
def how(request: pytest.FixtureRequest) -> Quantization:
    return request.param


@pytest.fixture(scope="module")
def parts(folder: Path, how: Quantization) -> Parts:
    return make_parts(folder, "llama-3.1", quantization=how, adapters=ADAPTERS[1:])


@pytest.fixture(scope="module")
def reference(folder: Path, how: Quantization) -> PeftModel:
    """The whole model with both adapters, by transformers and peft."""
    model = AutoModelForCausalLM.from_pretrained(folder / "tiny" / "model")
    for layer in model.model.layers:
        quantize(layer, how, CPU)
    adapted = PeftModel.from_pretrained(model, str(folder / POET), adapter_name="0")
    adapted.load_adapter(str(folder / CLERK), adapter_name="1")
    return adapted.eval()


@contextmanager
def adapted(reference: PeftModel, adapter: str) -> Iterator[PeftModel]:
    if adapter:
        reference.set_adapter(str(ADAPTERS[1:].index(adapter)))
        yield reference
    else:
        with reference.disable_adapter():
            yield reference


def random_tokens(seed: int, length: int = PROMPT) -> list[list[int]]:
    return torch.randint(2, VOCABULARY, (1, length), generator=torch.Generator().manual_seed(seed)).tolist()


def test_texts_at_once_are_each_that_of_peft(parts: Parts, reference: PeftModel) -> None:
    server = make_server(parts)
    texts = {number: random_tokens(number) for number in range(5)}
    adapters = {number: ADAPTERS[number % 3] for number in texts}
    waiting: dict[Step, int] = {}
    for number, tokens in texts.items():
        server.arena.open(number * 100, 1, PROMPT + NEW)
        waiting[server.submit(number * 100, server.embed(tokens), adapter=adapters[number])] = number
    while waiting:
        for step, output in server.scheduler.tick():
            number = waiting.pop(step)
            assert isinstance(output, torch.Tensor)
            texts[number][0] += server.choose(output)
            length = len(texts[number][0])
            if length < PROMPT + NEW:
                last = server.embed([texts[number][0][-1:]])
                again = server.submit(number * 100, last, length - 1, adapter=adapters[number])
                waiting[again] = number

    for number, tokens in texts.items():
        with adapted(reference, adapters[number]) as whole:
            made = whole.generate(
                input_ids=torch.tensor(random_tokens(number)),
                do_sample=False,
                max_new_tokens=NEW,
                pad_token_id=0,
            )
        assert tokens == made.tolist()


def test_each_adapter_changes_the_text(reference: PeftModel) -> None:
    """Without this the test above would not tell whether adapters are mixed up."""
    tokens = torch.tensor(random_tokens(0))
    outputs = []
    for adapter in ADAPTERS:
        with adapted(reference, adapter) as whole, torch.no_grad():
            outputs.append(whole(tokens).logits)

    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert (outputs[one] - outputs[other]).norm() > 0.1 * outputs[0].norm()


@pytest.fixture
def server(parts: Parts) -> Server:
    return make_server(parts)


def submit(server: Server, handle: int, tokens: int, adapter: str) -> Step:
    server.arena.open(handle, 1, tokens)
    return server.submit(handle, torch.randn(1, tokens, HIDDEN), adapter=adapter)


def test_a_tick_runs_one_adapter_and_then_those_who_waited(server: Server) -> None:
    long = submit(server, 0, 3 * BUDGET, POET)
    base = [submit(server, 100, 2, ""), submit(server, 200, 2, "")]
    short = submit(server, 300, 2, POET)
    clerk = submit(server, 400, 2, CLERK)

    ended = [{step for step, _ in server.scheduler.tick()} for _ in range(3)]

    assert ended == [{short}, set(base), {clerk}]
    assert set(server.finish()) == {long}


def test_batches_with_adapters_compute_what_steps_alone_do(parts: Parts) -> None:
    _, blocks, inputs = parts

    assert blocks[0].adapters.names == list(ADAPTERS)
    assert differs_in_batches(blocks, inputs, torch.float32, CPU) is None


def backend_of(parts: Parts, index: int) -> BlockBackend:
    return BlockBackend(
        f"model.{index}",
        parts[1][index],
        channels=Channels(0),
        dtype=torch.float32,
        device=CPU,
        memory_cache=FakeMemory(),
        prefill_chunk_tokens=16,
        max_task_tokens=1024,
    )


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_whole_sequences_and_gradients_are_those_of_peft(
    parts: Parts, reference: PeftModel, adapter: str
) -> None:
    backends = [backend_of(parts, index) for index in ALL]
    hidden = torch.randn(2, 9, HIDDEN, generator=torch.Generator().manual_seed(0))
    direction = torch.randn(2, 9, HIDDEN, generator=torch.Generator().manual_seed(1))
    inputs = [hidden]
    for backend in backends:
        inputs += backend.forward(inputs[-1], adapter)
    gradient = direction
    for backend, given in zip(reversed(backends), reversed(inputs[:-1]), strict=True):
        (gradient,) = backend.backward(given, gradient, adapter)

    same, last = hidden.clone().requires_grad_(), []
    with adapted(reference, adapter) as whole:
        layers = whole.base_model.model.model.layers
        seen = layers[-1].register_forward_hook(lambda module, inputs, output: last.append(output))
        whole(inputs_embeds=same, use_cache=False)
        seen.remove()
    last[0].backward(direction)
    torch.testing.assert_close(inputs[-1], last[0].detach(), rtol=0, atol=1e-4)
    torch.testing.assert_close(gradient, same.grad, rtol=1e-3, atol=1e-4)
    assert not any(parameter.requires_grad for block in parts[1] for parameter in block.parameters())


def test_a_session_alone_has_its_adapter_too(parts: Parts) -> None:
    """As with the scheduler ``stock``, or for beams and deep prompts."""
    backend, hidden = backend_of(parts, 0), torch.randn(1, 9, HIDDEN)
    outputs = {}
    for adapter in (POET, None, ""):
        handles = backend.memory_cache.allocate(backend, 1, 9)
        about = InferenceMetadata("model.0", 0, handles, adapter)
        (outputs[adapter],) = backend.inference_step(hidden, DUMMY_INT64, about)

    torch.testing.assert_close(outputs[POET], *backend.forward(hidden, POET), rtol=0, atol=1e-4)
    torch.testing.assert_close(outputs[None], *backend.forward(hidden, ""), rtol=0, atol=1e-4)
    assert outputs[None].equal(outputs[""])
    assert not torch.allclose(outputs[None], outputs[POET], atol=0.1)


def test_an_adapter_that_was_not_loaded_is_refused_with_those_that_were(parts: Parts) -> None:
    with pytest.raises(InvalidInput) as refused:
        parts[1][0].adapters.choose("tiny/other")

    assert str(refused.value) == (
        "this server does not have adapter 'tiny/other'; it has tiny/poet-v1.0, tiny/clerk"
        " — choose one of these, or none"
    )


def test_a_task_runs_with_the_adapter_of_its_request(server: Server, parts: Parts) -> None:
    backends = {f"model.{index}": backend_of(parts, index) for index in ALL}
    pool = BatchingPool(
        Channels(0), backends, server.scheduler, Usage(len(ALL)), max_task_tokens=64, device=CPU, first=True
    )
    hidden = torch.randn(1, 5, HIDDEN)
    futures: dict[str | None, Future[list[torch.Tensor]]] = {adapter: Future() for adapter in (POET, None)}
    for number, (adapter, future) in enumerate(futures.items()):
        server.arena.open(100 * number, 1, 5)
        infos = [InferenceMetadata(uid, 0, (100 * number,), adapter) for uid in backends]
        pool._take(Task(0.0, number, future, (hidden, DUMMY_INT64, infos, *([None] * len(infos)))))

    while pool.waiting:
        pool.run_next()

    for adapter, future in futures.items():
        output = hidden
        for backend in backends.values():
            (output,) = backend.forward(output, adapter or "")
        torch.testing.assert_close(_unpack(future.result()[0]), output, rtol=0, atol=1e-4)
