"""Which type of numbers to compute in."""

import torch

from services.common.errors import InvalidSetting


def cpu_computes_bfloat16() -> bool:
    """Tell whether this CPU multiplies bfloat16 in hardware (AVX-512 BF16 or AMX); elsewhere it is emulated."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def choose_dtype(
    wanted: str, model_dtype: torch.dtype | None, device: torch.device, bfloat16_cpu: bool
) -> torch.dtype:
    """Return the type of weights and activations.

    Args:
        wanted: a type's name, or ``auto`` for the model's own.
        model_dtype: the type of the checkpoint's weights; None if it does not say.
        device: where they are used.
        bfloat16_cpu: whether this CPU computes in bfloat16.

    Raises:
        InvalidSetting: the device cannot compute in the wanted type.
    """
    if wanted != "auto":
        dtype: torch.dtype = getattr(torch, wanted)
        if device.type == "cpu" and dtype == torch.float16:
            raise InvalidSetting("float16 does not run on a CPU", "set the type to bfloat16 or float32")
        return dtype
    dtype = model_dtype or torch.bfloat16
    if device.type == "cpu" and dtype in (torch.bfloat16, torch.float16):
        return torch.bfloat16 if bfloat16_cpu else torch.float32
    return dtype
