"""Every family, loaded block by block and served as two spans: the texts and the logits of plain transformers."""

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from services.common.settings import SwarmSettings
from services.swarm.family.verified import verified_model_types
from services.swarm.spec import ModelSpec
from tests.unit.swarm.served import ServedSession, Span, served_ends
from tests.unit.swarm.tiny_models import save_tiny_model
from tests.unit.swarm.tiny_more_configs import ALL_CONFIGS
from tests.unit.swarm.tiny_sizes import VOCABULARY, WINDOW

ROWS, PROMPT, NEW = 3, 2 * WINDOW, WINDOW
TOLERANCE = {"rtol": 0, "atol": 1e-4}


@pytest.fixture(scope="module", params=ALL_CONFIGS)
def spec(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    folder = tmp_path_factory.mktemp("families")
    saved = save_tiny_model(folder / "tiny" / "model", request.param)
    assert len(list(saved.glob("*.safetensors"))) > 1
    return ModelSpec.find(SwarmSettings.load(model="tiny/model", models_dir=folder, cache_dir=folder))


@pytest.fixture(scope="module")
def whole(spec: ModelSpec) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(spec.files.folder, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def ends(spec: ModelSpec) -> PreTrainedModel:
    return served_ends(spec)


@pytest.fixture(scope="module")
def spans(spec: ModelSpec) -> list[Span]:
    """Two servers, of which the first takes prompts in chunks smaller than a window, the second in larger ones."""
    return [Span(spec, range(2), WINDOW // 3), Span(spec, range(2, spec.num_blocks), WINDOW + 5)]


@pytest.fixture
def prompts() -> torch.Tensor:
    return torch.randint(2, VOCABULARY, (ROWS, PROMPT), generator=torch.Generator().manual_seed(0))


def run(ends: PreTrainedModel, session: ServedSession, tokens: torch.Tensor) -> torch.Tensor:
    """Send tokens [rows, tokens]; return the logits after each."""
    with torch.inference_mode():
        logits: torch.Tensor = ends(tokens, past_key_values=session).logits
        return logits


def test_all_families_are_here() -> None:
    assert {make().model_type for make in ALL_CONFIGS.values()} == set(verified_model_types())


def test_greedy_texts_beyond_the_window(
    spans: list[Span], ends: PreTrainedModel, whole: PreTrainedModel, prompts: torch.Tensor
) -> None:
    made = whole.generate(prompts, do_sample=False, max_new_tokens=NEW)
    session = ServedSession(spans, ROWS, PROMPT + NEW)
    texts, logits = [prompts], []
    for _ in range(NEW):
        logits.append(run(ends, session, texts[-1]))
        texts.append(logits[-1][:, -1].argmax(-1, keepdim=True))

    assert torch.cat(texts, dim=1).tolist() == made.tolist()
    with torch.inference_mode():
        expected = whole(made[:, :-1]).logits
    torch.testing.assert_close(torch.cat(logits, dim=1), expected, **TOLERANCE)


def test_beams_continue_the_rows_that_they_name(
    spans: list[Span], ends: PreTrainedModel, whole: PreTrainedModel, prompts: torch.Tensor
) -> None:
    rows = torch.tensor([2, 0, 0])
    session = ServedSession(spans, ROWS, PROMPT)
    run(ends, session, prompts[:, :-3])
    session.reorder_cache(rows)

    logits = run(ends, session, prompts[:, -3:])

    with torch.inference_mode():
        expected = whole(torch.cat([prompts[rows, :-3], prompts[:, -3:]], dim=1)).logits[:, -3:]
        unmoved = whole(prompts).logits[:, -3:]
    torch.testing.assert_close(logits, expected, **TOLERANCE)
    assert not torch.allclose(logits, unmoved, atol=1e-2)
