"""Download a file from a web address."""

from __future__ import annotations

from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from pipeline.core.errors import UserError, one_line
from pipeline.core.files import replacing, sha256_of
from pipeline.core.progress import note

LOCAL = ("localhost", "127.0.0.1", "::1")
MOST_BYTES = 4 * 2**30  # of a file; a server may never stop
_TIMEOUT = 30  # seconds without a byte
_PART = 2**20  # bytes


def check_address(address: str) -> None:
    """Refuse an address whose content anybody on the way could change.

    Raises:
        UserError: it is neither https:// nor on this machine, or it is no address at all.
    """
    try:
        parts = urlsplit(address)
    except ValueError as error:  # a bracket without its partner, for example
        raise UserError(f"{address}: is no web address: {one_line(error)}") from None
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOCAL):
        raise UserError.of(address, f"{parts.scheme}://", "https://, or http:// on this machine only")


def fetch(address: str, sha256: str, folder: Path) -> Path:
    """Return the path of a file in `folder`, which is named after its hash. Download it if it is not there.

    Args:
        address: where the file is.
        sha256: of the file.
        folder: where it is kept.

    Raises:
        UserError: the address does not answer, or the file there has another hash.
    """
    check_address(address)
    path = folder / f"{sha256}{Path(urlsplit(address).path).suffix}"
    if path.is_file() and sha256_of(path) == sha256:
        return path
    note(f"model: downloading {address}")
    with replacing(path) as temporary:
        with temporary.open("wb") as file:
            file.writelines(_parts(address))
        if (found := sha256_of(temporary)) != sha256:
            raise UserError.of(address, f"a file with SHA-256 {found}", f"{sha256}; nothing was kept")
    return path


class _SafeRedirects(HTTPRedirectHandler):
    def redirect_request(self, request: Request, *given: Any) -> Request | None:
        check_address(given[-1])
        return super().redirect_request(request, *given)


def _parts(address: str) -> Iterator[bytes]:
    """Yield the content at an address.

    Raises:
        UserError: it cannot be read, or is absurdly large.
    """
    request = Request(address, headers={"User-Agent": "fer-pipeline"})
    size = 0
    try:
        with build_opener(_SafeRedirects).open(request, timeout=_TIMEOUT) as response:
            while part := response.read(_PART):
                size += len(part)
                if size > MOST_BYTES:
                    raise UserError.of(address, f"more than {MOST_BYTES:,} bytes", "a model file")
                yield part
            if response.length:  # of the promised bytes, those that did not come
                raise UserError(f"{address}: cannot be downloaded: the connection ended after {size:,} bytes")
    except HTTPError as error:
        raise UserError(f"{address}: cannot be downloaded: {error.code} {error.reason}") from None
    except URLError as error:
        raise UserError(f"{address}: cannot be downloaded: {one_line(error.reason)}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise UserError(f"{address}: cannot be downloaded: {one_line(error)}") from None
