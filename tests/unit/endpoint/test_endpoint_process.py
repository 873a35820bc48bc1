"""``python -m services.endpoint`` as the container runs it: it lives before the model is there, and stops."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from tests.unit.endpoint.conftest import free_port

ROOT = Path(__file__).parents[3]


def environment(**settings: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CALYX_")}
    return {**kept, "PYTHONPATH": str(ROOT), **settings}


@retry(retry=retry_if_exception_type(httpx.TransportError), wait=wait_fixed(0.2), stop=stop_after_delay(60))
def get(url: str) -> httpx.Response:
    return httpx.get(url)


def test_it_lives_without_a_swarm_tells_why_it_is_not_ready_and_stops_when_asked(tmp_path: Path) -> None:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "services.endpoint"],
        env=environment(
            CALYX_ENDPOINT_HOST="127.0.0.1",
            CALYX_ENDPOINT_LISTEN_PORT=str(port),
            CALYX_GRPC_LISTEN_PORT=str(free_port()),
            CALYX_MODELS_DIR=str(tmp_path),
            CALYX_CACHE_DIR=str(tmp_path),
            CALYX_MODEL="nobody/nothing",
            HF_HUB_OFFLINE="1",
        ),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert get(f"http://127.0.0.1:{port}/healthz").status_code == 200
        ready = get(f"http://127.0.0.1:{port}/readyz")
        assert ready.status_code == 503
        assert "nobody/nothing" in ready.text
        probe = subprocess.run(
            [sys.executable, "-m", "services.endpoint.probe"],
            env=environment(CALYX_ENDPOINT_LISTEN_PORT=str(port)),
            capture_output=True,
            text=True,
            check=False,
        )
        assert probe.returncode == 1
        assert "nobody/nothing" in probe.stdout
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "Traceback" not in log


def test_a_wrong_setting_is_one_line() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "services.endpoint"],
        env=environment(CALYX_MAX_RUNNING="none"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    assert process.stderr.startswith("endpoint: setting CALYX_MAX_RUNNING:")
    assert process.stderr.count("\n") == 1
