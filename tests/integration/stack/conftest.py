"""The stacks that tests share. They are made by the helper, as users make them, and removed whatever happens."""

import re
import tarfile
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from docker.errors import DockerException
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from tests.integration.stack.machines import Machine, Mesh
from tests.integration.stack.pool import MODEL, ROOT, Finished, Pool, sweep

ARTIFACTS = ROOT / "artifacts"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep the containers' logs of a test that failed."""
    report = yield
    if report.failed:
        folder = ARTIFACTS / re.sub(r"\W+", "-", item.name)
        for value in item.funcargs.values():
            for pool in _pools(value):
                # An engine that crashed fails this test, and not the whole run
                with suppress(DockerException):
                    pool.save_logs(folder / pool.project)
    return report


def _pools(value: object) -> list[Pool]:
    if isinstance(value, Mesh):
        return [machine.pool for machine in (value.seed, *value.workers)]
    if isinstance(value, Machine):
        return [value.pool]
    return [value] if isinstance(value, Pool) else []


@pytest.fixture(scope="session")
def first_up() -> Iterator[tuple[Pool, Finished]]:
    """A stack that ``up`` has made on this machine, bare or not, and what it wrote meanwhile.

    It sets everything up that the machine lacks; later stacks find an engine and images.
    """
    sweep()
    pool = Pool()
    try:
        done = pool.calyx("up", "--yes", "--timeout", "900", limit=2400)
        if done.code:
            with suppress(DockerException):  # there may be no engine; the helper said why
                pool.save_logs(ARTIFACTS / "first-up")
            pytest.fail(f"./scripts/calyx up: {done.err}\n{done.out}", pytrace=False)
        sweep()  # an engine that was started just now brings old containers back
        yield pool, done
    finally:
        with suppress(DockerException):
            pool.remove()


@pytest.fixture(scope="session")
def shared_pool(first_up: tuple[Pool, Finished]) -> Pool:
    """The stack that tests share."""
    return first_up[0]


@pytest.fixture
def pool(shared_pool: Pool) -> Pool:
    """The shared stack, working: what an earlier test broke and left so is its own failure alone."""
    if not shared_pool.is_whole():
        shared_pool.up("--no-build")
    return shared_pool


@pytest.fixture(scope="session")
def model_folder(shared_pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model's files, taken out of the image."""
    target = tmp_path_factory.mktemp("models")
    container = shared_pool.containers()["server"]
    archive = target / "models.tar"
    with archive.open("wb") as file:
        for chunk in container.get_archive(f"/models/{MODEL}")[0]:
            file.write(chunk)
    with tarfile.open(archive) as tar:
        tar.extractall(target, filter="data")
    archive.unlink()
    return target / MODEL.split("/")[1]


@pytest.fixture(scope="session")
def question(model_folder: Path) -> str:
    """What the model reads when it is asked for the capital of France: its chat template filled in.

    Each word of the answer is far ahead of all others. A near tie, as the first word behind "What is the capital of
    France?", goes either way with the rounding of bfloat16, and that depends on how a prompt is cut.
    """
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(model_folder)
    messages = [{"role": "user", "content": "Name the capital of France."}]
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
