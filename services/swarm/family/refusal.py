"""Why an architecture that no test covers is refused, as far as its configuration and its code tell."""

from collections.abc import Callable

from transformers import CONFIG_MAPPING, PreTrainedConfig, __version__

from services.common.errors import CalyxError
from services.swarm.family.anatomy import Anatomy
from services.swarm.family.examination import NONSENSE, NotCuttable


def why_refused(model_type: object, read_config: Callable[[], PreTrainedConfig]) -> str:
    """Return the reason, as half a sentence.

    Args:
        model_type: transformers' name of the architecture.
        read_config: reads the model's configuration; may fail.
    """
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        return f"transformers {__version__} does not know it"
    try:
        Anatomy.cut(read_config())
    except NotCuttable as reason:
        return str(reason)
    except CalyxError as error:
        return error.problem
    except (ImportError, *NONSENSE) as error:
        return f"it cannot be laid out: {error}"
    return "no test has shown that it is exact"
