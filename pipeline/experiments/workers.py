"""Start the workers of DVC's queue, each with its share of the machine.

A run inherits the variables of its worker. So the runs of a worker have the same GPU one after another, and a run or a
worker that is killed leaves its GPU to the next one.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable

from pipeline.core import programs
from pipeline.core.parallel import cores
from pipeline.experiments.queue import repository

GPUS = "CUDA_VISIBLE_DEVICES"
THREADS = "OMP_NUM_THREADS"


def shares(jobs: int) -> list[dict[str, str]]:
    """Return the environment variables of each job: its GPUs, and its number of threads.

    The GPUs are dealt round robin. If there are more jobs than GPUs, jobs share a GPU. If a user has set
    `CUDA_VISIBLE_DEVICES`, only these GPUs are dealt. A user's `OMP_NUM_THREADS` holds for each job. A single job has
    the whole machine and gets no variables.
    """
    if jobs == 1:
        return [{}]
    gpus = _gpus()
    threads = {} if THREADS in os.environ else {THREADS: str(max(1, cores() // jobs))}
    return [
        threads | ({GPUS: ",".join(gpus[job::jobs] or [gpus[job % len(gpus)]])} if gpus else {})
        for job in range(jobs)
    ]


def in_words(jobs: list[dict[str, str]]) -> str:
    """Return the shares of at least two jobs as a sentence."""
    own, given = os.environ.get(THREADS), jobs[0].get(THREADS)
    why = f"{cores()} cores for {len(jobs)} jobs" if given else "as in your environment"
    gpus = [f"job {number} on GPU {job[GPUS]}" for number, job in enumerate(jobs, 1) if GPUS in job]
    place = f"{', '.join(gpus)}; " if gpus else ""
    return f"{len(jobs)} jobs at a time: {place}{THREADS}={given or own} each ({why})"


def start(jobs: list[dict[str, str]]) -> None:
    """Start a worker for each job, unless it is alive. The workers continue after this process has ended.

    Args:
        jobs: environment variables of each job, as `shares` returns them.
    """
    # A worker calls `dvc`, and a stage calls `python`. Both programs must be those of this environment.
    # Not in this process: DVC forks it for each worker, and these forks last as long as the workers.
    programs.output(sys.executable, "-m", __name__, *map(json.dumps, jobs), PATH=programs.path())


def _gpus() -> list[str]:
    """Return the GPUs that torch sees, as in `CUDA_VISIBLE_DEVICES`."""
    import torch

    count = torch.cuda.device_count()
    own = os.environ.get(GPUS)
    return [name.strip() for name in own.split(",")][:count] if own else [str(gpu) for gpu in range(count)]


def spawn(jobs: Iterable[str]) -> None:
    """Start the workers as `dvc queue start` does, which gives all of them the same variables.

    Args:
        jobs: as for `start`, each as JSON.
    """
    with repository() as repo:
        queue = repo.experiments.celery_queue
        alive = {name.partition("@")[0].rpartition("-")[2] for name in queue.worker_status()}
        for number, variables in enumerate(map(json.loads, jobs), 1):
            if str(number) not in alive:
                os.environ |= variables
                queue._spawn_worker(number)


if __name__ == "__main__":
    spawn(sys.argv[1:])
