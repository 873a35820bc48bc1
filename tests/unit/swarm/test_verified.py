"""Models are found under the names that stock Petals gives them."""

import pytest

from services.common.errors import InvalidInput
from services.swarm.family.verified import derive_dht_prefix, require_verified, verified_model_types


@pytest.mark.parametrize(
    ("name", "model_type", "prefix"),
    [
        ("meta-llama/Llama-2-70b-hf", "llama", "Llama-2-70b-hf"),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "llama", "SmolLM2-135M-Instruct-hf"),
        ("meta-llama/Meta-Llama-3.1-405B-Instruct", "llama", "Meta-Llama-3-1-405B-Instruct-hf"),
        ("mistralai/Mixtral-8x22B-Instruct-v0.1", "mixtral", "Mixtral-8x22B-Instruct-v0-1"),
        ("stabilityai/StableBeluga2", "llama", "StableBeluga2-hf"),
        ("without-owner", "mixtral", "without-owner"),
    ],
)
def test_prefixes_are_those_of_stock_petals(name: str, model_type: str, prefix: str) -> None:
    assert derive_dht_prefix(name, model_type) == prefix


@pytest.mark.parametrize("model_type", verified_model_types())
def test_what_is_verified_is_accepted(model_type: str) -> None:
    require_verified(model_type, "owner/name")


def test_what_is_not_verified_is_refused_with_a_list_of_what_is() -> None:
    with pytest.raises(InvalidInput) as refused:
        require_verified("gpt2", "owner/name")

    for known in verified_model_types():
        assert known in str(refused.value)
