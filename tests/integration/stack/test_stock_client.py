"""A Petals client that knows nothing of us computes with our server: the wire protocol is the contract."""

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from tests.integration.stack.pool import DHT_PREFIX, ROOT, Pool, run

CLIENT = ROOT / "tests/integration/stock_client"
VENV = ROOT / ".venv-stock"


@pytest.fixture(scope="module")
def stock_python() -> Path:
    """Python with Petals 2.2.0.post1 on the transformers that it was released with."""
    locks = [CLIENT / "requirements.txt", ROOT / "images/petals/requirements-nodeps.txt"]
    made = run([ROOT / "scripts/venv", VENV, *locks], limit=1200)
    assert made.code == 0, made.err
    return VENV / "bin/python"


def test_the_petals_sdk_in_the_usual_way(pool: Pool, model_folder: Path, stock_python: Path) -> None:
    addresses = pool.read("bootstrap", "/pool/initial_peers").split()
    reachable = next(address for address in addresses if not address.startswith("/ip4/127."))
    program = [stock_python, "-X", "faulthandler", CLIENT / "client.py", model_folder, DHT_PREFIX, reachable]

    client = subprocess.Popen(
        [*map(str, program), "What is the capital of France?"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(CLIENT), "HF_HUB_OFFLINE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = client.communicate(timeout=240)
    except subprocess.TimeoutExpired:
        client.send_signal(signal.SIGABRT)  # what its threads do goes to its errors
        with suppress(subprocess.TimeoutExpired):
            client.wait(10)
        os.killpg(client.pid, signal.SIGKILL)
        pytest.fail(f"no answer: {client.communicate()}", pytrace=False)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(client.pid, signal.SIGKILL)  # stock Petals may leave its libp2p daemon behind

    assert client.returncode == 0, err
    assert out == "The capital of France is Paris.\n"
