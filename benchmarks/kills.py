"""Kill commands at random instants, repeat them, and compare: the same bytes as undisturbed, and nothing left behind.

Each command runs in a small project of its own, in its own process group. A signal (KILL, TERM, INT) goes to the
process alone, to its group, or to one of its child processes. Then no process may be left, the same command must
succeed, every file must be as after an undisturbed run, and no temporary file, journal or checkpoint may be left.
DVC's workers continue when the command that started them is killed; they must have ended at the end.

    python benchmarks/kills.py [kills per command] [command ...]

Without names, all commands of `CASES` are killed. The exit code is 1 if anything is amiss.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import psutil

from pipeline.params.change import set_values

ROOT = Path(__file__).parents[1]
TARGETS, SIGNALS = ("parent", "group", "child"), (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
MARK = "FER_KILLS"  # environment variable that the processes of one trial share
ENDS = 10.0  # seconds in which the processes of a killed command must end
LASTS = 600.0  # seconds in which a command must end
CHAIN = ("check", "sample", "ingest sample", "align sample", "label", "synthesize", "train", "evaluate")
SETTINGS: dict[str, Any] = {
    "sample.images": 200,
    "gan": "none",
    "classes": ["neutral", "happiness"],
    "gans.classes": ["neutral", "happiness"],
    "gans.images_per_class": 4,
    "gans.judge_epochs": 1,
    "gans.processes": 2,
    "gans.dcgan.epochs": 3,
    "gans.dcgan.least_steps": 0,
    "gans.dcgan.width": 4,
    "model": "light",
    "train.epochs": 2,
    "train.batch_size": 16,
    "train.checkpoint_seconds": 0,
    "train.device": "cpu",
    "train.precision": "float32",
    "evaluate.bootstrap": 20,
}
RECIPE = """title: Two short runs
params:
  {seed: 1, datasets: [sample], classes: [neutral, happiness], gan: none, model: light, train.epochs: 1,
  train.batch_size: 16, sample.images: 200, evaluate.bootstrap: 20}
variants:
  one: {params: {augment: none}}
  two: {params: {augment: mixup}}
"""


class Undisturbed(NamedTuple):
    """What a command does that nobody kills: the content of the project, and what it leaves itself, such as caches."""

    content: dict[str, str]
    left: set[str]


class Case(NamedTuple):
    """A command to kill.

    Attributes:
        command: its words; `fer` where the first is none of a program.
        after: number of stages of `CHAIN` that have run before.
        settings: of params.yaml, beside `SETTINGS`.
        queues: whether DVC's workers run in the background.
        prepare: commands that run before.
    """

    command: str
    after: int
    settings: Mapping[str, Any] = MappingProxyType({})
    queues: bool = False
    prepare: tuple[str, ...] = ()


TRANSFORMS = [{"__class_fullname__": "RandomGamma", "p": 0.5}]
QUEUE = "dvc exp run --queue -S train.epochs=1 -S seed="
CASES = {
    **{name.split()[0]: Case(name, number) for number, name in enumerate(CHAIN)},
    "import": Case("import data/raw/sample --copy --yes", CHAIN.index("ingest sample")),
    "synthesize": Case("synthesize", CHAIN.index("synthesize"), {"gan": "dcgan"}),
    "train-workers": Case(
        "train", CHAIN.index("train"), {"train.albumentations": TRANSFORMS, "train.workers": 2}
    ),
    "train-torchrun": Case(
        "train", CHAIN.index("train"), {"train.torchrun": "--standalone --nproc-per-node 2"}
    ),
    "suspects": Case("labels suspects --folds 2 --epochs 1", CHAIN.index("synthesize")),
    "predict": Case("predict data/raw/sample/images --output faces.csv --annotate marked", len(CHAIN)),
    "export": Case("export --int8", len(CHAIN)),
    "report": Case("report workspace main", len(CHAIN)),
    "repro": Case("dvc repro", 0),
    "run-all": Case(
        "dvc exp run --run-all", len(CHAIN), {}, True, (f"{QUEUE}2 --name two", f"{QUEUE}3 --name three")
    ),
    "recipe": Case("recipe run two --wait --jobs 2", len(CHAIN), {}, True),
}


class Project:
    """Copies of a small project, each in a state of the chain, and one in which commands are killed.

    Args:
        folder: holds them all.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.states = folder, folder / "states"
        self.here, self.temporary = folder / "project", folder / "temporary"
        self.environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.here),
            "TMPDIR": str(self.temporary),
            "HOME": str(folder),
            "DVC_SITE_CACHE_DIR": str(folder / "site"),
            "DVC_NO_ANALYTICS": "1",
            "OMP_NUM_THREADS": "1",
        }

    def begin(self, case: Case) -> None:
        """Put the project into the state before a case."""
        self.restore(case.after)
        set_values(dict(case.settings), self.here / "params.yaml")
        self._run("git", "commit", "-qam", "Set", "--allow-empty")
        for command in case.prepare:
            self._run(*words(command))
        self._copy(self.here, self.states / "case")

    def restore(self, state: object) -> None:
        """Put the project into a state that it had before: a number of stages, or `case`."""
        shutil.rmtree(self.temporary, ignore_errors=True)
        self.temporary.mkdir()
        if not (self.states / str(state)).exists():
            self._make(int(str(state)))
        self._copy(self.states / str(state), self.here)

    def start(self, command: str, mark: str, log: Path) -> subprocess.Popen[bytes]:
        """Start a command as the first process of a group."""
        with log.open("wb") as file:
            return subprocess.Popen(
                words(command),
                cwd=self.here,
                env=self.environment | {MARK: mark},
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def content(self) -> dict[str, str]:
        """Return hashes of all files that are not git's or DVC's own, and of what experiments hold in git."""
        found = {}
        for path in sorted(self.here.rglob("*")):
            name = path.relative_to(self.here).as_posix()
            if path.is_file() and not name.startswith((".git/", ".dvc/")) and "__pycache__" not in name:
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        for ref in self._run("git", "for-each-ref", "--format=%(refname)", "refs/exps/*/*/*").split():
            tree = self._run("git", "ls-tree", "-r", ref, "metrics", "params.yaml", "dvc.lock")
            found[ref.rpartition("/")[2]] = hashlib.sha256(tree.encode()).hexdigest()
        found["git status"] = self._run("git", "status", "--porcelain", "--branch", "--untracked-files=no")
        found["git stash"] = self._run("git", "stash", "list")
        return found

    def left_over(self) -> set[str]:
        """Return temporary files, journals and checkpoints."""
        patterns = ("*.part", "*.old", "data/interrupted/*", "models/checkpoints/*", ".git/*.lock")
        found = [path for pattern in patterns for path in self.here.rglob(pattern)]
        names = {path.relative_to(self.folder).as_posix() for path in [*found, *self.temporary.iterdir()]}
        return {name for name in names if "/.dvc/" not in name}

    def _make(self, done: int) -> None:
        if done:
            self.restore(done - 1)
            self._run(*words(CHAIN[done - 1]))
        else:
            self.here.mkdir()
            for name in ("pipeline", "params.yaml", "dvc.yaml", ".gitignore", ".dvcignore"):
                copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
                copy(ROOT / name, self.here / name)
            set_values(SETTINGS, self.here / "params.yaml")
            for name in ("data/raw/.gitkeep", "data/exclude/.gitkeep", "models/.gitkeep", "recipes/two.yaml"):
                (self.here / name).parent.mkdir(parents=True)
                (self.here / name).write_text(RECIPE if name.endswith(".yaml") else "")
            with suppress(FileNotFoundError):
                shutil.copytree(ROOT / "models/detector", self.here / "models/detector")
            self._run("git", "init", "-q", "-b", "main")
            for key, value in {"user.name": "kills", "user.email": "kills@example.org"}.items():
                self._run("git", "config", key, value)
            self._run("dvc", "init", "-q")
        if done == len(CHAIN):
            self._run(*words("check"))
            self._run("dvc", "commit", "-q", "--force")
        self._run("git", "add", ".")
        self._run("git", "commit", "-qm", "Start", "--allow-empty")
        self._copy(self.here, self.states / str(done))

    def _copy(self, source: Path, target: Path) -> None:
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target, symlinks=True)

    def _run(self, *command: str) -> str:
        done = subprocess.run(command, cwd=self.here, env=self.environment, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        return done.stdout


def words(command: str) -> list[str]:
    """Return the words of a command; those of `fer` run the project's own code, as in dvc.yaml."""
    return (
        command.split()
        if command.startswith("dvc ")
        else [sys.executable, "-m", "pipeline", *command.split()]
    )


def processes(mark: str) -> Iterator[psutil.Process]:
    """Yield the live processes of a trial."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                yield process


def gone(mark: str, seconds: float) -> list[str]:
    """Wait until the processes of a trial have ended. Return the command lines of those that do not, and end them."""
    end = time.monotonic() + seconds
    while left := list(processes(mark)):
        if time.monotonic() > end:
            lines = [" ".join(process.cmdline()) for process in left]
            for process in left:
                with suppress(psutil.Error):
                    process.kill()
            return lines
        time.sleep(0.05)
    return []


def kill(
    process: subprocess.Popen[bytes], mark: str, target: str, number: signal.Signals, rng: random.Random
) -> str:
    """Send a signal; return to whom: a process without children takes the place of its child."""
    children = [child.pid for child in processes(mark) if child.pid != process.pid]
    with suppress(ProcessLookupError):
        if target == "group":
            os.killpg(process.pid, number)
        elif target == "child" and children:
            os.kill(rng.choice(children), number)
        else:
            process.send_signal(number)
            return "parent"
    return target


def trial(
    project: Project,
    case: Case,
    expected: Undisturbed,
    after: float,
    target: str,
    number: signal.Signals,
    rng: random.Random,
) -> tuple[str, int, list[str]]:
    """Kill a command once, and repeat it.

    Returns:
        Who got the signal, the exit code that came of it, and what is amiss.
    """
    project.restore("case")
    mark, log = uuid.uuid4().hex, project.folder / "log"
    process = project.start(case.command, mark, log)
    with suppress(subprocess.TimeoutExpired):
        process.wait(after)
    ended = process.poll() is not None
    target = "nobody" if ended else kill(process, mark, target, number, rng)
    amiss = []
    try:
        code = process.wait(LASTS)
    except subprocess.TimeoutExpired:
        code, amiss = 0, ["it did not end"]
    if left := gone(mark, LASTS if case.queues else ENDS):
        amiss.append(f"processes left: {left}")
    first = log.read_text(errors="replace")[-2000:]
    repeated = project.start(case.command, mark, log)
    try:
        if repeated.wait(LASTS):
            amiss.append(f"the repeated command failed: {log.read_text(errors='replace')[-3000:]}")
    except subprocess.TimeoutExpired:
        amiss.append("the repeated command did not end")
    if left := gone(mark, LASTS if case.queues else ENDS):
        amiss.append(f"processes left after the repeated command: {left}")
    found = project.content()
    names = expected.content.keys() | found.keys()
    if different := sorted(name for name in names if expected.content.get(name) != found.get(name)):
        amiss.append(f"differ: {different}")
    if left_over := project.left_over() - expected.left:
        amiss.append(f"left over: {sorted(left_over)}")
    return target, code, [f"AMISS: {line}" for line in amiss] + ([first] if amiss else [])


def measure(project: Project, name: str, kills: int, rng: random.Random) -> tuple[str, bool]:
    """Kill a command a number of times. Return a row of the table, and whether anything is amiss."""
    case = CASES[name]
    project.begin(case)
    mark, log = uuid.uuid4().hex, project.folder / "log"
    start = time.monotonic()
    if code := project.start(case.command, mark, log).wait(LASTS):
        sys.exit(f"{name}: exit code {code}, undisturbed: {log.read_text(errors='replace')}")
    took = time.monotonic() - start
    gone(mark, LASTS)
    expected = Undisturbed(project.content(), project.left_over())
    print(f"{name}, undisturbed: {took:.1f} s, leaves {sorted(expected.left) or 'nothing'}", file=sys.stderr)
    misses = 0
    ways = list(product(TARGETS, SIGNALS))
    # A run that DVC has begun, and whose process is killed, has failed for DVC: `--run-all` does not repeat it.
    ways = [way for way in ways if name != "run-all" or way[0] != "child"]
    rng.shuffle(ways)
    targets: Counter[str] = Counter()
    for index in range(kills):
        target, number = ways[index % len(ways)]
        after = rng.uniform(0, 0.98 * took)
        hit, code, amiss = trial(project, case, expected, after, target, number, rng)
        targets[hit] += 1
        line = (
            f"{name} {index + 1}: {number.name} to {hit} after {after:.2f} of {took:.2f} s, exit code {code}"
        )
        print("\n".join([line, *amiss]), file=sys.stderr, flush=True)
        misses += bool(amiss)
    counts = " | ".join(str(targets[target]) for target in (*TARGETS, "nobody"))
    return f"| {name} | {took:.1f} s | {counts} | {misses} |", bool(misses)


def main(kills: str = "20", *commands: str) -> None:
    rng, failed = random.Random(0), False
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder))
        print("| command | undisturbed | process | group | child | had ended | amiss |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for name in commands or CASES:
            row, amiss = measure(project, name, int(kills), rng)
            print(row, flush=True)
            failed |= amiss
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
