"""Where pip finds PyTorch's CPU build here: ``python -m scripts.helper.torch_source`` prints pip's options.

The rule is that of the image build: a wheel of torch in the wheelhouse makes PyTorch's own index needless.
"""

import os
import sys
from collections.abc import Mapping

from scripts.helper.context import ROOT
from scripts.helper.environment import read_env_file
from scripts.helper.handover import hand_over
from scripts.helper.shell import HostShell, Shell
from services.common.errors import CalyxError
from services.common.settings import StackSettings


def torch_source(environment: Mapping[str, str], shell: Shell) -> list[str]:
    """Return pip's options.

    Args:
        environment: the process's variables with those of ``.env``.
        shell: asks pip for its configuration.

    Raises:
        InvalidSetting: a setting of the stack is wrong.
    """
    settings = StackSettings.load()
    handed = hand_over(environment, shell).variables.get("CALYX_WHEELHOUSE")
    wheelhouse = ROOT / (handed or settings.wheelhouse)
    if any(wheelhouse.glob("torch-*.whl")):
        return ["--find-links", str(wheelhouse)]
    return ["--extra-index-url", settings.torch_index]


if __name__ == "__main__":
    try:
        os.environ.update(read_env_file(ROOT / ".env", os.environ))
        sys.stdout.write(" ".join(torch_source(os.environ, HostShell())) + "\n")
    except CalyxError as error:
        sys.exit(f"error: {error}")
