"""A model on a hub: only what is needed is downloaded, kept within a limit, and mended when it is corrupt."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ByteSize, SecretStr

from services.common.errors import Broken, InvalidInput, Unavailable
from services.common.settings import SwarmSettings
from services.swarm.files import INDEX, ModelFiles
from tests.unit.swarm.fake_hub import FakeHub, fake_hub
from tests.unit.swarm.tiny_models import save_tiny_model

NAME = "tiny/llama"
FIRST, SECOND, THIRD = (f"model-0000{number}-of-00004.safetensors" for number in range(1, 4))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("hub") / NAME, "llama")


@pytest.fixture
def hub(folder: Path) -> Iterator[FakeHub]:
    with fake_hub(NAME, folder) as running:
        yield running


def files(hub: FakeHub, cache: Path, **settings: Any) -> ModelFiles:
    return ModelFiles(
        SwarmSettings.load(
            **({"model": NAME, "models_dir": cache, "cache_dir": cache, "hf_endpoint": hub.url} | settings)
        )
    )


def block(number: int) -> Any:
    return lambda name: f"layers.{number}." in name


def stored(cache: Path, filename: str) -> Path:
    return next(cache.rglob(f"snapshots/*/{filename}")).resolve()


def cut(path: Path) -> None:
    """Leave the first bytes alone, in a new file: weights that were read are views of the old one."""
    start = path.read_bytes()[:1000]
    path.unlink()
    path.write_bytes(start)


def test_only_the_shards_of_wanted_weights_are_downloaded(hub: FakeHub, tmp_path: Path) -> None:
    files(hub, tmp_path).weights(block(0))
    assert hub.downloads == [INDEX, FIRST, SECOND]

    files(hub, tmp_path).weights(block(1))
    assert hub.shards == [FIRST, SECOND]


def test_what_is_there_already_is_not_downloaded_again(hub: FakeHub, tmp_path: Path) -> None:
    first = files(hub, tmp_path).weights(block(0))
    hub.downloads.clear()

    torch.testing.assert_close(files(hub, tmp_path).weights(block(0)), first, rtol=0, atol=0)
    assert hub.downloads == []


@pytest.mark.parametrize("offline", [True, False])
def test_a_hub_that_is_gone_is_not_needed_for_what_is_there(
    hub: FakeHub, tmp_path: Path, offline: bool
) -> None:
    files(hub, tmp_path).weights(block(0))
    gone = {"hf_endpoint": "http://127.0.0.1:9", "hf_hub_offline": offline}

    assert files(hub, tmp_path, **gone).weights(block(0))
    with pytest.raises(Unavailable, match=f"{THIRD} of tiny/llama: not in .* the hub — check CALYX_MODEL"):
        files(hub, tmp_path, **gone).weights(block(3))


def test_offline_mode_knows_a_single_file_without_an_index(tmp_path: Path) -> None:
    single = save_tiny_model(tmp_path / "hub", "llama", max_shard_size="1GB")
    with fake_hub(NAME, single) as hub:
        online = files(hub, tmp_path / "cache").weights(block(0))

    offline = files(hub, tmp_path / "cache", hf_hub_offline=True).weights(block(0))
    torch.testing.assert_close(offline, online, rtol=0, atol=0)


def test_the_token_is_sent_and_never_logged(
    hub: FakeHub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    hub.gated = True

    files(hub, tmp_path, hf_token=SecretStr("hf_secret")).weights(block(0))

    assert hub.tokens == {"Bearer hf_secret"}
    assert "hf_secret" not in caplog.text


def test_a_model_that_asks_for_permission(hub: FakeHub, tmp_path: Path) -> None:
    hub.gated = True

    with pytest.raises(InvalidInput, match="the model asks for permission — set HF_TOKEN"):
        files(hub, tmp_path).weights(block(0))


@pytest.mark.parametrize("settings", [{"model": "tiny/other"}, {"revision": "never-made"}])
def test_a_model_that_the_hub_does_not_have(hub: FakeHub, tmp_path: Path, settings: dict[str, str]) -> None:
    with pytest.raises(
        InvalidInput, match="the hub has no such model — check CALYX_MODEL and CALYX_REVISION"
    ):
        files(hub, tmp_path, **settings).weights(block(0))


@pytest.mark.parametrize("filename", [FIRST, INDEX])
def test_a_corrupt_download_is_replaced(hub: FakeHub, tmp_path: Path, filename: str) -> None:
    before = files(hub, tmp_path).weights(block(0))
    cut(stored(tmp_path, filename))
    hub.downloads.clear()

    torch.testing.assert_close(files(hub, tmp_path).weights(block(0)), before, rtol=0, atol=0)
    assert hub.downloads == [filename]


def test_a_file_that_is_corrupt_on_the_hub_is_replaced_once_only(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "hub", "llama")
    (folder / FIRST).write_bytes(b"\xff" * 1000)

    with fake_hub(NAME, folder) as hub, pytest.raises(Broken, match=f"{FIRST} of tiny/llama is corrupt: "):
        files(hub, tmp_path / "cache").weights(block(0))

    assert hub.shards == [FIRST, FIRST]


def test_offline_mode_does_not_delete_what_it_cannot_replace(hub: FakeHub, tmp_path: Path) -> None:
    files(hub, tmp_path).weights(block(0))
    path = stored(tmp_path, FIRST)
    cut(path)

    with pytest.raises(
        Broken, match=f"{FIRST} of tiny/llama is corrupt: .* — delete {FIRST} under {tmp_path}"
    ):
        files(hub, tmp_path, hf_hub_offline=True).weights(block(0))
    assert path.exists()


def test_a_limit_smaller_than_a_shard(hub: FakeHub, tmp_path: Path) -> None:
    with pytest.raises(
        Broken, match=rf"no space for the 176\.7KiB of {FIRST} of tiny/llama in {tmp_path}.* 100\.0KiB"
    ):
        files(hub, tmp_path, cache_limit=ByteSize(100 * 1024)).weights(block(0))
    assert hub.shards == []


def test_the_least_recently_used_files_make_room(hub: FakeHub, tmp_path: Path) -> None:
    files(hub, tmp_path).weights(block(0))
    now = time.time()
    for age, filename in enumerate([INDEX, SECOND, FIRST]):
        os.utime(stored(tmp_path, filename), (now - age, now - age))
    limit = sum(path.stat().st_size for path in tmp_path.rglob("blobs/*")) + 50_000

    files(hub, tmp_path, cache_limit=ByteSize(limit)).weights(lambda name: name == "model.norm.weight")

    kept = {path.name for path in tmp_path.rglob("snapshots/*/*")}
    assert kept == {INDEX, SECOND, THIRD}
    assert sum(path.stat().st_size for path in tmp_path.rglob("blobs/*")) <= limit


def test_a_cache_that_cannot_be_written(hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("not a folder")

    with pytest.raises(Broken, match=f"looking for .* — check that {tmp_path}/cache is a folder with space"):
        files(hub, tmp_path / "cache").weights(block(0))
