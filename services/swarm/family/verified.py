"""Which architectures are known to be exact, and the DHT prefix that stock Petals derives for each."""

import json
from collections.abc import Callable
from importlib.resources import files
from typing import NotRequired, TypedDict

from transformers import PreTrainedConfig

from services.common.errors import InvalidInput
from services.swarm.family.refusal import why_refused


class Family(TypedDict):
    """What ``families.json`` says of an architecture.

    Attributes:
        name: what people call models of it.
        dht_suffix: what stock Petals appends to the DHT prefix.
        dht_owner: whether stock Petals leaves the repository's owner in the DHT prefix.
    """

    name: str
    dht_suffix: NotRequired[str]
    dht_owner: NotRequired[bool]


FAMILIES: dict[str, Family] = json.loads(files(__package__).joinpath("families.json").read_text())
"""transformers' name of each architecture whose exactness is tested → what else is to be known of it."""


def verified_model_types() -> list[str]:
    """Return transformers' names of the architectures whose exactness is tested, sorted."""
    return sorted(FAMILIES)


def require_verified(
    model_type: object, model_name: str, read_config: Callable[[], PreTrainedConfig]
) -> None:
    """Refuse an architecture that no test has shown to be exact.

    Args:
        model_type: transformers' name of the architecture.
        model_name: for the message.
        read_config: reads the model's configuration, to find out what is against it.

    Raises:
        InvalidInput: it is not in ``families.json``; the message says why, and lists those that are.
    """
    if model_type not in verified_model_types():
        raise InvalidInput(
            f"loading {model_name}: architecture {model_type!r} is not supported: "
            f"{why_refused(model_type, read_config)}",
            f"choose a model of one of these: {', '.join(verified_model_types())}",
        )


def derive_dht_prefix(model_name: str, model_type: str) -> str:
    """Return the prefix of a model's keys in the DHT, as stock Petals 2.2.0 derives it from a hub name.

    Petals takes the repository's name without its owner, so that blocks hosted under different accounts merge,
    replaces the '.' that separates prefix and block number, and for Llama appends ``-hf`` to tell converted
    checkpoints from the original ones; BLOOM keeps the form of Petals' first version (petals/models/*/config.py).
    """
    family = FAMILIES[model_type]
    name = model_name if family.get("dht_owner") else model_name.rsplit("/", 1)[-1]
    prefix, suffix = name.replace(".", "-"), family.get("dht_suffix", "")
    return prefix if prefix.endswith(suffix) else prefix + suffix
