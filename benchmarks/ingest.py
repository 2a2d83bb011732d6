"""Time of `fer ingest` over merely decoding the same PNGs, and how its memory grows with the data set.

Decoding: OpenCV, one process per core, each reads and decodes its share of the files and keeps nothing. Ingest
reads, checks and fingerprints the same files, reads three label files, and writes the table. The two run in turn, a
few times, in one process tree; the first round, which fills the page cache, does not count.

Memory: peak of the ingesting process and of its workers on the data set and on one with ten times the images, the
same ones under other names.

    python benchmarks/ingest.py data/raw/ferplus [rounds]
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from pipeline import params
from pipeline.core.parallel import chunks, cores
from pipeline.datasets.ferplus import FOLDERS, LABEL_FILE, VOTES_FILE
from pipeline.stages import ingest

PARAMS = params.load(Path(__file__).parents[1] / "params.yaml")


def pngs(root: Path) -> Iterator[Path]:
    for folder in FOLDERS.values():
        yield from sorted((root / folder).glob("*.png"))


def decode(files: list[str]) -> int:
    count = 0
    for file in files:
        with open(file, "rb") as opened:
            data = opened.read()
        count += cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is not None
    return count


def decode_all(files: list[str]) -> None:
    with multiprocessing.get_context("fork").Pool(cores()) as pool:
        assert sum(pool.imap_unordered(decode, chunks(files, 256))) == len(files)


def ingest_all(root: Path, output: Path) -> None:
    ingest.run(PARAMS, "ferplus", root, output)


def seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def enlarge(root: Path, target: Path, times: int) -> None:
    """Write FER+ with every image `times` times, under names with one more digit."""
    header, *rows = (root / VOTES_FILE).read_text().splitlines()
    with (target / VOTES_FILE).open("w") as file:
        file.write(header + "\n")
        for digit in range(times):
            file.writelines(row.replace(",fer", f",fer{digit}", 1) + "\n" for row in rows)
    for folder in FOLDERS.values():
        (target / folder).mkdir()
        if (root / folder / LABEL_FILE).is_file():
            rows = (root / folder / LABEL_FILE).read_text().splitlines()
            with (target / folder / LABEL_FILE).open("w") as file:
                for digit in range(times):
                    file.writelines(row.replace("fer", f"fer{digit}", 1) + "\n" for row in rows)
    for image in pngs(root):
        names = [image.name.replace("fer", f"fer{digit}", 1) for digit in range(times)]
        first = target / image.parent.name / names[0]
        first.write_bytes(image.read_bytes())
        for name in names[1:]:
            os.link(first, first.with_name(name))


def peak(root: Path) -> tuple[float, float]:
    """Return the peak memory in MB of a process that ingests, and of the largest of its workers."""
    command = [sys.executable, __file__, "--peak", str(root)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    own, worker = map(float, done.stdout.splitlines()[-1].split())
    return own, worker


def main(raw: str, rounds: str = "5") -> None:
    root = Path(raw)
    files = [str(path) for path in pngs(root)]
    times: dict[str, list[float]] = {"decoding alone": [], "fer ingest": []}
    for _ in range(int(rounds) + 1):
        times["decoding alone"].append(seconds(lambda: decode_all(files)))
        with tempfile.TemporaryDirectory() as output:
            times["fer ingest"].append(seconds(lambda: ingest_all(root, Path(output))))
    ratios = [ours / theirs for theirs, ours in zip(*times.values(), strict=True)][1:]
    for name, found in times.items():
        print(f"{name:>15}: {statistics.median(found[1:]):6.2f} s for {len(files):,} images")
    print(f"{'ratio':>15}: {statistics.median(ratios):6.2f} ({min(ratios):.2f} to {max(ratios):.2f})")

    with tempfile.TemporaryDirectory() as scratch:
        enlarge(root, Path(scratch), 10)
        for name, before, after in zip(("process", "worker"), peak(root), peak(Path(scratch)), strict=True):
            print(f"{'peak of ' + name:>15}: {before:.0f} MB, {after:.0f} MB with ten times the images")


if __name__ == "__main__":
    if sys.argv[1] == "--peak":
        with tempfile.TemporaryDirectory() as output:
            ingest_all(Path(sys.argv[2]), Path(output))
        usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        print(*(usage.ru_maxrss / 1024 for usage in usages))
    else:
        main(*sys.argv[1:])
