"""Which architectures are known to be exact, and the DHT prefix that stock Petals derives for each."""

import json
from importlib.resources import files

from services.common.errors import InvalidInput

_FAMILIES: dict[str, dict[str, str]] = json.loads(files(__package__).joinpath("families.json").read_text())


def verified_model_types() -> list[str]:
    """Return transformers' names of the architectures whose exactness is tested, sorted."""
    return sorted(_FAMILIES)


def require_verified(model_type: str | None, model_name: str) -> None:
    """Refuse an architecture that nobody has shown to be exact.

    Raises:
        InvalidInput: it is not in ``families.json``; the message lists those that are.
    """
    if model_type not in verified_model_types():
        raise InvalidInput(
            f"loading {model_name}: architecture {model_type!r} is not supported",
            f"choose a model of one of these: {', '.join(verified_model_types())}",
        )


def derive_dht_prefix(model_name: str, model_type: str) -> str:
    """Return the prefix of a model's keys in the DHT, as stock Petals 2.2.0 derives it from a hub name.

    Petals takes the repository's name without its owner, so that blocks hosted under different accounts merge,
    replaces the '.' that separates prefix and block number, and for one architecture appends ``-hf`` to tell
    converted checkpoints from the original ones (petals/models/*/config.py).
    """
    prefix = model_name.rsplit("/", 1)[-1].replace(".", "-")
    suffix = _FAMILIES[model_type]["dht_suffix"]
    return prefix if prefix.endswith(suffix) else prefix + suffix
