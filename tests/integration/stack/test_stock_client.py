"""A Petals client that knows nothing of us computes with our server: the wire protocol is the contract."""

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.integration.conftest import STOCK_PETALS
from tests.integration.stack.pool import DHT_PREFIX, Pool, eventually


def test_the_petals_sdk_in_the_usual_way(
    pool: Pool, model_folder: Path, stock_python: Path, tmp_path: Path
) -> None:
    addresses = pool.read("bootstrap", "/pool/initial_peers").split()
    reachable = next(address for address in addresses if not address.startswith("/ip4/127."))
    program = [stock_python, "-u", STOCK_PETALS / "client.py", model_folder, DHT_PREFIX, reachable]
    out, err = tmp_path / "out", tmp_path / "err"

    with out.open("wb") as output, err.open("wb") as errors:
        client = subprocess.Popen(
            [*map(str, program), "Name the capital of France."],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(STOCK_PETALS), "HF_HUB_OFFLINE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )

    def has_answered() -> None:
        # It need not have ended: at its exit, stock Petals may wait for its own event loop for ever
        assert out.read_text().endswith("\n") or client.poll() is not None, err.read_text()

    try:
        eventually(has_answered, 240)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(client.pid, signal.SIGKILL)
        client.wait()

    assert out.read_text() == "The capital of France is Paris.\n", err.read_text()
