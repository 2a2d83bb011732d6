"""Upload a folder to the Hugging Face Hub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pipeline.core.errors import UserError
from pipeline.download.hub import reason
from pipeline.download.web import check_address

Kind = Literal["model", "dataset"]
# Files that this project may have uploaded before. Those that the folder no longer has are deleted.
OURS: dict[Kind, list[str]] = {"model": ["model.onnx"], "dataset": ["data/*.parquet"]}


def check_target(target: str) -> None:
    """Refuse what cannot be the name of a repository.

    Raises:
        UserError: it is not.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", target, re.ASCII):
        raise UserError.of("OWNER/NAME", target, "a user or organisation and a name, such as jane/faces")


def upload(folder: Path, target: str, kind: Kind, public: bool) -> str:
    """Upload a folder to a repository, which is made if it is not there. Return the address of the commit.

    Args:
        folder: with README.md.
        target: `owner/name` of the repository.
        kind: what it holds.
        public: whether a new repository is public. An older one stays as it is.

    Raises:
        UserError: the Hub cannot be reached, or refuses it.
    """
    from huggingface_hub import HfApi, constants, errors

    check_address(constants.ENDPOINT)
    api = HfApi(library_name="fer-pipeline")
    try:
        api.create_repo(target, repo_type=kind, private=not public, exist_ok=True)
        return api.upload_folder(
            repo_id=target,
            repo_type=kind,
            folder_path=folder,
            delete_patterns=OURS[kind],
            commit_message="Upload with fer-pipeline",
        ).commit_url
    except Exception as error:  # from httpx, the Hub's library or the file system
        status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else None
        refused = f"it answers {status}: `hf auth login` with a token that may write to {target}"
        why = refused if status in (401, 403) else reason(error)
        raise UserError(f"{constants.ENDPOINT}: {target} was not uploaded: {why}") from None
