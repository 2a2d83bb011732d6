"""Where a run computes, and in which precision."""

from __future__ import annotations

import os

import torch

from pipeline.core.errors import UserError


def pick(name: str) -> torch.device:
    """Return the device of `train.device`: the GPU if `auto` and there is one; each process of a machine has its own.

    Also makes every operation deterministic, so that the same run on the same machine gives the same bytes.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError.of("params.yaml: train.device", "'cuda'", "auto or cpu, as torch sees no GPU here")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic with this alone
    torch.use_deterministic_algorithms(True)
    # What no operation reads before it is written need not be filled, which on a GPU costs a launch each time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    here, number = torch.cuda.device_count(), int(os.environ.get("LOCAL_RANK", 0))
    if number >= here:
        raise UserError.of(
            "params.yaml: train.torchrun", f"more than {here} processes on this machine", "one per GPU"
        )
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the precision of forward passes: bfloat16 if `auto` and the hardware multiplies it natively.

    On a processor with AMX it doubles the speed of a training step; where it is emulated it is slower than
    float32.
    """
    if name != "auto":
        return torch.bfloat16 if name == "bfloat16" else torch.float32
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if native else torch.float32
