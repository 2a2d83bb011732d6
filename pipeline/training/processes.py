"""Training in several processes on one machine or many. `torchrun` starts them.

Each process holds the whole network, draws the whole plan, and computes its part of every batch. It sums over its own
samples, and then the sums of all processes are added. So each process ends a step with the weights that a single
process would have, up to rounding.
"""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from pipeline.core.ending import LAUNCHER
from pipeline.core.errors import UserError, one_line
from pipeline.core.parallel import cores
from pipeline.core.scratch import temporary_folder

# Environment variable with a path. The processes of one machine find each other through a file (`dist.FileStore`) whose
# name begins with this path.
STORE = "FER_STORE"


@dataclass(frozen=True)
class Processes:
    """The processes that train together, seen from one of them. By default there is only one.

    Attributes:
        rank: number of this process, from 0; process 0 writes the files.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    def part(self, count: int) -> slice:
        """Return this process's range of `count` samples; the ranges differ in size by at most one sample."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over the processes.

        All tensors are summed in one message, always in the same order. torch's `DistributedDataParallel` sums in
        buckets and reorders them during a run, so a resumed run would differ in the last bit.
        """
        if self.size == 1:
            return
        joined = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(joined)
        for tensor, summed in zip(tensors, joined.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(summed.view(tensor.shape))

    def whole(self, part: Tensor, count: int) -> Tensor:
        """Return the rows of all processes, float32 [count, ...]; `part` holds this process's rows."""
        if self.size == 1:
            return part
        rows = torch.zeros(count, *part.shape[1:], device=part.device)
        rows[self.part(count)] = part.detach().float()
        dist.all_reduce(rows)
        return rows

    def first(self, value: Any) -> Any:
        """Return the first process's `value`, which may hold tensors on the CPU."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, device=torch.device("cpu"))
        return values[0]


def launched() -> bool:
    """Return whether `torchrun` started this process."""
    return dist.is_torchelastic_launched()


def launch(arguments: str, command: Sequence[str]) -> None:
    """Run `python -m command` under `torchrun` and wait for its end.

    Args:
        arguments: of torchrun, as in a shell.
        command: module and arguments.

    Raises:
        UserError: torchrun rejects the arguments, or a process was killed.
        SystemExit: a process failed and has printed why.
    """
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    for name in ("torch.distributed.elastic", "torch.distributed.run"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # errors are reported below
    parser = run.get_args_parser()
    parser.error = _refuse  # type: ignore[assignment]
    try:
        # Without a folder for logs, torchrun leaves an empty one among the temporary files.
        options = parser.parse_args(["--log-dir", os.devnull, *shlex.split(arguments), "--module", *command])
        local = run.determine_local_world_size(options.nproc_per_node)
        one_machine = run.parse_min_max_nnodes(options.nnodes) == (1, 1)
    except (ValueError, argparse.ArgumentError) as error:
        raise UserError(f"params.yaml: train.torchrun: {one_line(error)}; see torchrun --help") from None
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // local)))
    os.environ[LAUNCHER] = str(os.getpid())
    try:
        with _meeting_in_files(options) if one_machine else nullcontext():
            run.run(options)
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        if failure.exitcode < 0:
            name = signal.Signals(-failure.exitcode).name
            raise UserError(f"train: a process was killed by {name}, and the others were stopped") from None
        raise SystemExit(failure.exitcode) from None
    except SignalException as stopped:
        raise SystemExit(128 + stopped.sigval) from None
    finally:
        del os.environ[LAUNCHER]


def _refuse(message: str) -> None:
    raise ValueError(message)


@contextmanager
def _meeting_in_files(options: argparse.Namespace) -> Iterator[None]:
    """Let the processes of one machine find each other through files.

    If they used the network for this, torch would look up host names.
    """
    host = socket.getfqdn
    with temporary_folder() as folder:
        options.standalone, options.local_addr = False, "localhost"
        options.rdzv_backend, options.rdzv_endpoint = "c10d", str(folder / "launcher")
        options.rdzv_conf = "store_type=file"
        variables = {STORE: str(folder / "store"), "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
        if sys.platform == "linux" and "GLOO_SOCKET_IFNAME" not in os.environ:
            variables["GLOO_SOCKET_IFNAME"] = "lo"
        os.environ |= variables
        socket.getfqdn = lambda name="": name or socket.gethostname()  # torchrun records the host's name
        try:
            yield
        finally:
            socket.getfqdn = host
            for name in variables:
                del os.environ[name]


@contextmanager
def joined() -> Iterator[Processes]:
    """Join the processes that `torchrun` started together with this one. Without torchrun the process is alone.

    Raises:
        UserError: the block raised it, and this is the first process of its machine. Only this process reports it.
        SystemExit: the block raised a UserError, and this is another process. It ends without a message.
    """
    if not launched():
        yield Processes()
        return
    # Let SIGTERM end the process at once. A handler in Python would not run during a sum over the processes, and a sum
    # whose other process has ended never returns.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    size, rank = int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"])
    store = None
    if STORE in os.environ:  # each restart meets in a file of its own
        store = dist.FileStore(f"{os.environ[STORE]}-{os.environ['TORCHELASTIC_RESTART_COUNT']}", size)
    dist.init_process_group(backend, world_size=size, rank=rank, store=store)
    try:
        yield Processes(dist.get_rank(), dist.get_world_size())
    except UserError:
        if os.environ["LOCAL_RANK"] == "0":
            raise
        raise SystemExit(1) from None
    finally:
        dist.destroy_process_group()
