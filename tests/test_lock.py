"""The locks are renewed by their script, from wheels that hold nothing but what a package needs."""

from __future__ import annotations

import contextlib
import hashlib
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pipeline.export.terms import TERMS
from tests import doc_commands
from tests.doc_commands import ROOT

LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-cuda.lock")
ENTRY = re.compile(r"(?m)^(?P<name>[\w.-]+)==(?P<version>\S+)(?: ; (?P<marker>[^\\\n]+?))?(?= \\$)")


def entries(folder: Path, lock: str) -> dict[str, set[str]]:
    """Return the entries of a lock with their markers, and the hashes of each."""
    text = (folder / lock).read_text(encoding="utf-8")
    parts = re.split(r"\n(?=\S)", text.strip())
    assert all(ENTRY.match(part) for part in parts)
    return {part.partition(" \\")[0]: set(re.findall(r"sha256:(\w{64})", part)) for part in parts}


def write_wheel(folder: Path, name: str, version: str, needs: str) -> None:
    """Write a wheel that holds metadata alone, to which `needs` adds lines."""
    name = re.sub(r"[-_.]+", "_", name)
    said = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(
            f"{said}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}"
        )
        wheel.writestr(f"{said}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{said}/RECORD", "")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of wheels with what the locks name: what is installed needs what it needs, all else nothing."""
    folder = tmp_path_factory.mktemp("index")
    for lock in LOCKS:
        for entry in ENTRY.finditer((ROOT / lock).read_text(encoding="utf-8")):
            name, version, marker = entry["name"], entry["version"], entry["marker"] or ""
            needs = ""
            with contextlib.suppress(metadata.PackageNotFoundError):
                installed = metadata.metadata(name)
                if installed["Version"].partition("+")[0] == version:
                    needs += "".join(
                        f"{key}: {value}\n"
                        for key in ("Requires-Python", "Provides-Extra", "Requires-Dist")
                        for value in installed.get_all(key, [])
                    )
            if "Requires-Python" not in needs and (least := re.search(r"version >= '([\d.]+)'", marker)):
                needs += f"Requires-Python: >={least[1]}\n"
            if name == "torch":  # of which only the build for CUDA says so
                needs += "".join(
                    f"Requires-Dist: {cuda['name']}=={cuda['version']} ; {cuda['marker']}\n"
                    for cuda in ENTRY.finditer((ROOT / LOCKS[-1]).read_text(encoding="utf-8"))
                )
            write_wheel(folder, name, version, needs)
    write_wheel(folder, "opencv-python", "5.0", "")
    return folder


@pytest.fixture
def checkout(tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the script reads and writes, where uv asks no other index."""
    for name in ("pyproject.toml", "scripts/lock.py", *LOCKS):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for name, value in {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "UV_NO_INDEX": "1",
        "UV_OFFLINE": "1",
        "UV_FIND_LINKS": index,
        "UV_CACHE_DIR": tmp_path / "cache",
        "XDG_CONFIG_HOME": tmp_path / "config",
    }.items():
        monkeypatch.setenv(name, str(value))
    return tmp_path


def renew(folder: Path, *wheels: str) -> None:
    [command] = {c.words for c in doc_commands.commands("CONTRIBUTING.md") if "scripts/lock.py" in c.words}
    done = subprocess.run([*command, *wheels], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stderr}"


def test_what_is_locked_stays_with_the_hashes_allowed_for_it(checkout: Path) -> None:
    build = checkout / "torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl"
    build.write_bytes(b"a build of torch")
    renew(checkout, str(build))
    for lock in LOCKS:
        before, after = entries(ROOT, lock), entries(checkout, lock)
        assert list(after) == list(before)
        for entry, hashes in before.items():
            added = {hashlib.sha256(build.read_bytes()).hexdigest()} if entry.startswith("torch==") else set()
            assert after[entry] == hashes | added


def test_what_is_named_anew_is_added_to_the_lock_of_those_who_need_it(checkout: Path, index: Path) -> None:
    write_wheel(index, "nvidia-new", "2.0", "")
    write_wheel(index, "brand-new", "1.5", "Requires-Dist: nvidia-new\nRequires-Dist: opencv-python\n")
    write_wheel(index, "new-test", "3.0", "Requires-Dist: brand-new\n")
    project = checkout / "pyproject.toml"
    text = project.read_text(encoding="utf-8")
    text = text.replace("dependencies = [", 'dependencies = [\n  "brand-new>=1",', 1)
    project.write_text(text.replace("\ndev = [", '\ndev = [\n  "new-test>=1",', 1))
    renew(checkout)
    for lock, new in zip(LOCKS, ("brand-new==1.5", "new-test==3.0", "nvidia-new==2.0"), strict=True):
        assert set(entries(checkout, lock)) - set(entries(ROOT, lock)) == {new}
        assert not set(entries(ROOT, lock)) - set(entries(checkout, lock))


def test_what_the_package_needs_at_run_time_is_in_the_first_lock_and_nothing_else() -> None:
    locked = [
        {entry["name"] for entry in ENTRY.finditer((ROOT / lock).read_text(encoding="utf-8"))}
        for lock in LOCKS
    ]
    runtime, dev, cuda = locked
    assert not runtime & dev
    assert not cuda & (runtime | dev)
    wanted = [one for one in map(Requirement, metadata.requires("fer-pipeline") or []) if not one.marker]
    assert {"dvc", "torch", "ruamel-yaml"} <= {canonicalize_name(one.name) for one in wanted} <= runtime
    assert {"pytest", "mypy", "ray", "uv", "moto"} <= dev


def test_the_register_of_licences_names_every_package_and_data_set_with_its_terms() -> None:
    page = (ROOT / "docs/licences.md").read_text(encoding="utf-8")
    _, packages = page.split("## Packages")
    extras = {*metadata.metadata("fer-pipeline").get_all("Provides-Extra", [])} - {"dev", "docs"}
    assert extras >= {"dlib", "ray"}
    for one in map(Requirement, metadata.requires("fer-pipeline") or []):
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in extras):
            assert re.search(rf"[| ]{re.escape(one.name)}[ ,]", packages), one.name
    for name, terms in TERMS.items():
        assert re.search(rf"\| [^|]*`{name}`[^|]*\| {re.escape(terms)} \|", page), name
    assert TERMS.keys() == {path.stem for path in (ROOT / "pipeline/datasets").glob("[!_]*.py")}


def test_no_package_that_the_commands_need_is_under_the_gpl_alone() -> None:
    found = {}
    for entry in ENTRY.finditer((ROOT / LOCKS[0]).read_text(encoding="utf-8")):
        with contextlib.suppress(metadata.PackageNotFoundError):  # of another system
            words = metadata.metadata(entry["name"])
            classifiers = [value for value in words.get_all("Classifier", []) if value.startswith("License")]
            # Some give the whole text of their licence, and those of the libraries in their wheels.
            terms = (words["License-Expression"] or words["License"] or "").partition("\n")[0]
            found[entry["name"]] = "; ".join([terms, *classifiers])
    copyleft = {name: terms for name, terms in found.items() if re.search("GPL|General Public", terms)}
    # Of these, one may choose the other licence, or link to them from a program under any licence.
    assert len(found) > 100
    assert set(copyleft) == {"asyncssh", "dulwich", "grandalf", "pygit2"}
    assert all(re.search(r"EPL|Apache-2\.0 OR|linking exception", terms) for terms in copyleft.values()), (
        copyleft
    )
