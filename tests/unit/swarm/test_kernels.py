"""Operators of ours against torch's, and what the library needs to be there."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from services.swarm import kernels
from services.swarm.kernels import build

OPERATORS = kernels.OPERATORS
ROUNDING = {
    torch.float32: 4e-6,
    torch.bfloat16: 1e-2,
}  # a score of ten is known to 1e-6, e to its power no better
TYPES = pytest.mark.parametrize("dtype", ROUNDING, ids=str)


def random(*shape: int, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def assert_near(result: torch.Tensor, exact: torch.Tensor) -> None:
    """Compare with what was computed in float64."""
    torch.testing.assert_close(
        result.double(), exact, rtol=0, atol=ROUNDING[result.dtype] * exact.abs().max()
    )


def normed(inputs: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return functional.rms_norm(inputs.double(), inputs.shape[-1:], weight.double(), 1e-5)


@TYPES
@pytest.mark.parametrize("inputs_dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 64), (2, 5, 576), (0, 8)])
def test_rms_norm(shape: tuple[int, ...], inputs_dtype: torch.dtype, dtype: torch.dtype) -> None:
    inputs, weight = random(*shape, dtype=inputs_dtype), random(shape[-1], dtype=dtype, seed=1)

    result = OPERATORS.rms_norm(inputs, weight, 1e-5)

    assert result.dtype == dtype
    if result.numel():
        assert_near(result, normed(inputs, weight))


@TYPES
@pytest.mark.parametrize("inputs_dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (16, 576), (0, 8)])
def test_the_norm_of_a_sum(shape: tuple[int, ...], inputs_dtype: torch.dtype, dtype: torch.dtype) -> None:
    inputs, other = random(*shape, dtype=inputs_dtype), random(*shape, dtype=dtype, seed=2)
    weight = random(shape[-1], dtype=dtype, seed=1)

    total, result = OPERATORS.add_and_norm(inputs, other, weight, 1e-5)

    assert total.equal(inputs.float() + other.float())
    assert result.dtype == dtype
    if result.numel():
        assert_near(result, normed(total, weight))


def test_norms_are_rounded_once() -> None:
    inputs, weight = random(9, 576, dtype=torch.bfloat16), random(576, dtype=torch.bfloat16, seed=1)

    result = OPERATORS.rms_norm(inputs, weight, 1e-5)

    assert (result != normed(inputs, weight).bfloat16()).float().mean() < 0.01


def turned(heads: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    low, high = heads.double().chunk(2, dim=-1)
    return heads * cosines.double()[:, None] + torch.cat([-high, low], dim=-1) * sines.double()[:, None]


@TYPES
def test_heads_are_turned_and_kept_in_their_places(dtype: torch.dtype) -> None:
    tokens, size = 5, 16
    # Parts of one product, as a projection gives them
    query, key, value = random(tokens, 10, size, dtype=dtype).split([6, 2, 2], dim=1)
    angles = torch.rand(tokens, size, generator=torch.Generator().manual_seed(2)) * 6
    cosines, sines = angles.cos().to(dtype), angles.sin().to(dtype)
    keys, values = (torch.full((20, 2, size), 7.0, dtype=dtype) for _ in range(2))
    slots = torch.tensor([3, 4, 5, 12, 0])

    result = OPERATORS.rotate_and_keep(query, key, value, cosines, sines, keys, values, slots)

    assert_near(result, turned(query, cosines, sines))
    assert_near(keys[slots], turned(key, cosines, sines))
    assert values[slots].equal(value)
    others = [place for place in range(20) if place not in slots]
    assert (keys[others] == 7).all()
    assert (values[others] == 7).all()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 100), st.integers(0, 150)), min_size=1, max_size=6),
    st.sampled_from([(1, 1), (4, 1), (6, 2), (3, 3)]),
    st.sampled_from([8, 64, 80]),
    st.sampled_from([0.0, 5.0]),
    st.sampled_from(list(ROUNDING)),
)
def test_each_token_sees_its_keys(
    seen: list[tuple[int, int]], heads: tuple[int, int], size: int, softcap: float, dtype: torch.dtype
) -> None:
    query = random(len(seen), heads[0], size, dtype=dtype)
    keys, values = (random(256, heads[1], size, dtype=dtype, seed=seed) for seed in (1, 2))
    starts, lengths = (torch.tensor(numbers) for numbers in zip(*seen, strict=True))

    result = OPERATORS.attend(query, keys, values, starts, lengths, 0.3, softcap)

    for row, (start, length) in enumerate(seen):
        some = slice(start, start + length)
        own = [
            tensor[some].double().repeat_interleave(heads[0] // heads[1], 1).transpose(0, 1)
            for tensor in (keys, values)
        ]
        scores = 0.3 * query[row].double()[:, None] @ own[0].transpose(1, 2)
        if softcap:
            scores = softcap * torch.tanh(scores / softcap)
        expected = scores.softmax(-1) @ own[1]
        if length:
            assert_near(result[row], expected[:, 0])
        else:
            assert not result[row].any()


@TYPES
def test_scores_may_be_of_any_size(dtype: torch.dtype) -> None:
    query, values = random(2, 1, 8, dtype=dtype), random(90, 1, 8, dtype=dtype, seed=1)
    keys = 1000 * random(90, 1, 8, dtype=dtype, seed=2)
    lengths = torch.tensor([90, 90])

    result = OPERATORS.attend(query, keys, values, torch.zeros(2, dtype=torch.int64), lengths, 1.0, 0.0)

    best = (query.double()[:, 0] @ keys.double()[:, 0].T).argmax(-1)
    assert_near(result[:, 0], values[best, 0].double())


@TYPES
def test_neighbours_and_threads_change_no_bit(dtype: torch.dtype) -> None:
    query = random(40, 9, 64, dtype=dtype)
    keys, values = (random(4000, 3, 64, dtype=dtype, seed=seed) for seed in (1, 2))
    starts, lengths = torch.arange(40) * 90, torch.full((40,), 90)

    together = OPERATORS.attend(query, keys, values, starts, lengths, 0.1, 0.0)

    for row in (0, 17, 39):
        one = slice(row, row + 1)
        assert OPERATORS.attend(query[one], keys, values, starts[one], lengths[one], 0.1, 0.0).equal(
            together[one]
        )


def test_other_numbers_and_layouts_are_refused() -> None:
    tensor = torch.ones(2, 4, 8, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="float or bfloat16"):
        OPERATORS.rms_norm(tensor, tensor[0, 0], 1e-5)
    for wrong in (torch.ones(3), torch.ones(2, 8), torch.ones(16)[::2]):
        with pytest.raises(RuntimeError, match="a weight for each number"):
            OPERATORS.rms_norm(torch.ones(2, 8), wrong, 1e-5)
        with pytest.raises(RuntimeError, match="a weight for each number"):
            OPERATORS.add_and_norm(torch.ones(2, 8), torch.ones(2, 8), wrong, 1e-5)
    with pytest.raises(RuntimeError, match="shape of the input"):
        OPERATORS.add_and_norm(torch.ones(2, 4), torch.ones(2, 3), torch.ones(4), 1e-5)
    apart = torch.ones(2, 4, 16)[..., ::2]
    with pytest.raises(RuntimeError, match="side by side"):
        OPERATORS.attend(apart, apart, apart, torch.tensor([0, 0]), torch.tensor([1, 1]), 1.0, 0.0)


@pytest.mark.parametrize(("norms", "products"), [(1, 7), (3, 7), (2, 6)])
def test_a_layer_without_all_of_its_parts_is_refused(norms: int, products: int) -> None:
    with pytest.raises(RuntimeError, match=r"two norms, or four|seven products"):
        torch.classes.calyx.GatedLayer(
            [torch.ones(4)] * norms, [1e-5] * norms, [torch.ones(4, 4)] * products, [None] * products
        )


def test_processors_are_a_row_of_numbers_for_each_thread() -> None:
    for wrong in (torch.tensor([0]), torch.tensor([[0.0]])):
        with pytest.raises(RuntimeError, match="a row of them for each thread"):
            OPERATORS.bind_team(wrong)


def test_they_are_for_a_processor_and_its_numbers() -> None:
    assert kernels.compute(torch.ones(1))
    assert not kernels.compute(torch.ones(1, dtype=torch.float16))
    assert not kernels.compute(torch.ones(1, device="meta"))


def test_without_the_library_torch_computes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "LIBRARY", tmp_path / "none.so")

    assert kernels._load() is None


def test_another_processor_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")

    assert kernels._load() is None


def make(folder: Path, path: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, build.__file__, folder],
        env={"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_missing_compiler_is_one_line(tmp_path: Path) -> None:
    result = make(tmp_path, "/nowhere")

    assert result.returncode == 1
    assert result.stderr == "error: there is no C++ compiler — install g++ (Debian: apt-get install g++)\n"


def test_a_compiler_that_fails_leaves_no_library(tmp_path: Path) -> None:
    (tmp_path / "g++").write_text("#!/bin/sh\necho broken >&2\nexit 1\n")
    (tmp_path / "g++").chmod(0o755)

    result = make(tmp_path, f"{tmp_path}:/usr/bin:/bin")

    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert [path.name for path in tmp_path.iterdir()] == ["g++"]


def test_what_is_there_already_is_not_made_again(tmp_path: Path) -> None:
    (tmp_path / "g++").write_text('#!/bin/sh\nfor name; do :; done\necho >>"$0.calls"\ntouch "$name"\n')
    (tmp_path / "g++").chmod(0o755)
    for _ in range(2):
        assert make(tmp_path, f"{tmp_path}:/usr/bin:/bin").returncode == 0

    compiled_and_linked = len(build.SOURCES) + 1
    assert len((tmp_path / "g++.calls").read_text()) == compiled_and_linked
    assert (tmp_path / "cpu.so").exists()
