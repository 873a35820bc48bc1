"""Models are found under the names that stock Petals gives them."""

import pytest
from transformers import CodeGenConfig

from services.common.errors import InvalidInput
from services.swarm.family.verified import derive_dht_prefix, require_verified, verified_model_types
from tests.unit.swarm.family_table import README, table


@pytest.mark.parametrize(
    ("name", "model_type", "prefix"),
    [
        ("meta-llama/Llama-2-70b-hf", "llama", "Llama-2-70b-hf"),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "llama", "SmolLM2-135M-Instruct-hf"),
        ("meta-llama/Meta-Llama-3.1-405B-Instruct", "llama", "Meta-Llama-3-1-405B-Instruct-hf"),
        ("mistralai/Mixtral-8x22B-Instruct-v0.1", "mixtral", "Mixtral-8x22B-Instruct-v0-1"),
        ("stabilityai/StableBeluga2", "llama", "StableBeluga2-hf"),
        ("without-owner", "mixtral", "without-owner"),
        ("tiiuae/falcon-180B-chat", "falcon", "falcon-180B-chat"),
        ("Qwen/Qwen2.5-7B-Instruct", "qwen2", "Qwen2-5-7B-Instruct"),
        ("bigscience/bloomz-7b1", "bloom", "bigscience/bloomz-7b1-petals"),
    ],
)
def test_prefixes_are_those_of_stock_petals(name: str, model_type: str, prefix: str) -> None:
    assert derive_dht_prefix(name, model_type) == prefix


@pytest.mark.parametrize("model_type", verified_model_types())
def test_what_is_verified_is_accepted(model_type: str) -> None:
    require_verified(model_type, "owner/name", CodeGenConfig)


def test_what_is_not_verified_is_refused_with_a_list_of_what_is() -> None:
    with pytest.raises(InvalidInput) as refused:
        require_verified("codegen", "owner/name", CodeGenConfig)

    for known in verified_model_types():
        assert known in str(refused.value)


def test_the_readme_lists_what_is_verified() -> None:
    assert table() in README.read_text(), "run `.venv-test/bin/python -m tests.unit.swarm.family_table`"
