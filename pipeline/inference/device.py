"""The device and the precision that a run computes with."""

from __future__ import annotations

import os

import torch

from pipeline.core import threads
from pipeline.core.errors import UserError


def pick(name: str) -> torch.device:
    """Return the device for `train.device` and make every operation deterministic.

    `auto` is the GPU if there is one. Each process of a machine has a GPU of its own. With deterministic operations the
    same run on the same machine gives the same bytes.

    Raises:
        UserError: `cuda` without a GPU, or more processes than GPUs on this machine.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError.of("params.yaml: train.device", "'cuda'", "auto or cpu, as torch sees no GPU here")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS is not deterministic
    # Not `use_deterministic_algorithms`, which imports torch's compiler, a second of processor time.
    torch.set_deterministic_debug_mode("error")
    # Filling fresh memory costs a launch per tensor on a GPU; no operation reads memory before writing it.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    if name == "cpu" or not torch.cuda.is_available():
        if torch.get_num_threads() > 1:
            threads.keep_apart()
        return torch.device("cpu")
    gpus, rank = torch.cuda.device_count(), int(os.environ.get("LOCAL_RANK", 0))
    if rank >= gpus:
        raise UserError.of(
            "params.yaml: train.torchrun", f"more than {gpus} processes on this machine", "one per GPU"
        )
    torch.cuda.set_device(rank)
    return torch.device("cuda", rank)


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the precision of forward passes for `train.precision`.

    `auto` is bfloat16 if the hardware multiplies it natively. It doubles the speed of a training step on a processor
    with AMX. Where it is emulated, it is slower than float32.
    """
    if name != "auto":
        return torch.bfloat16 if name == "bfloat16" else torch.float32
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if native else torch.float32
