"""Download a model file from the Hugging Face Hub.

Its library keeps the files in a folder of its own form, knows which of them a revision means when there is no network,
and sends the token of `hf auth login` for private models. HF_ENDPOINT names another server with the Hub's interface.
"""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.core.errors import UserError, one_line
from pipeline.core.files import sha256_of
from pipeline.core.progress import note
from pipeline.download.web import check_address

SCHEME = "hf"
FILE = "model.safetensors"  # in a repository, unless the address names another
FORM = "hf://OWNER/NAME, hf://OWNER/NAME@REVISION or hf://OWNER/NAME@REVISION/FILE.safetensors"


def fetch(address: str, sha256: str | None, folder: Path) -> Path:
    """Return the path of a model file of the Hub. Download it if it is not there, or if the revision has moved.

    Args:
        address: the file's `hf://` address.
        sha256: of the file; None: the hash under which the Hub stores it.
        folder: where the files are kept.

    Raises:
        UserError: there is no such file, it cannot be downloaded, or it has another hash.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import parse_hf_uri

    check_address(constants.ENDPOINT)
    try:
        uri = parse_hf_uri(address)
    except ValueError:
        raise UserError.of("--model", address, FORM) from None
    if uri.type != "model":
        raise UserError.of("--model", f"{address}, which is a {uri.type}", FORM)
    path = _downloaded(address, uri.id, uri.path_in_repo or FILE, uri.revision or "main", folder)
    # Large files, and all that end in .safetensors, are stored under their SHA-256; others under a hash of git.
    stored = path.readlink().name if path.is_symlink() else ""
    expected = sha256 or (stored if is_sha256(stored) else None)
    if expected is None:
        raise UserError.of(
            "--model", f"{address}, whose SHA-256 the Hub does not say", f"{address}#sha256=..."
        )
    if (found := sha256_of(path)) != expected:
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise UserError.of(address, f"a file with SHA-256 {found}", f"{expected}; it was deleted")
    commit = path.relative_to(folder.resolve()).parts[2]  # models--OWNER--NAME/snapshots/COMMIT/FILE
    note(f"model: {address} is the file {found[:12]}... (SHA-256) of commit {commit}")
    return path


def is_sha256(text: str) -> bool:
    """Return whether text is a SHA-256 in lower case."""
    return re.fullmatch("[0-9a-f]{64}", text) is not None


def reason(error: Exception) -> str:
    """Return what the Hub or its library says of an error, as one line without the number of the request."""
    return re.sub(r"\(Request ID: [^)]*\)", "", one_line(error))


def _downloaded(address: str, repository: str, file: str, revision: str, folder: Path) -> Path:
    import huggingface_hub as hub
    from huggingface_hub import errors

    try:
        if not isinstance(hub.try_to_load_from_cache(repository, file, folder, revision), str):
            # Fails at once without a network, where `hf_hub_download` goes on trying for half a minute.
            hub.get_hf_file_metadata(hub.hf_hub_url(repository, file, revision=revision))
        return Path(hub.hf_hub_download(repository, file, revision=revision, cache_dir=folder))
    except errors.RepositoryNotFoundError:
        found, allowed = (
            "no such model, or none that you may read",
            "a model; `hf auth login` for a private one",
        )
    except errors.RevisionNotFoundError:
        found, allowed = f"no revision {revision}", "a branch, a tag or a commit of the repository"
    except errors.RemoteEntryNotFoundError:
        found, allowed = f"no file {file}", "a repository with this file"
    except Exception as error:  # from httpx, the Hub's library or the file system
        raise UserError(f"{address}: cannot be downloaded, and is not in {folder}: {reason(error)}") from None
    raise UserError.of(address, found, allowed)
