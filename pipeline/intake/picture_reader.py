"""Read, measure and decode the pictures of a listing, in several processes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from pipeline.core.parallel import fitting, ordered
from pipeline.intake.guards import Rejection
from pipeline.intake.image import LARGEST, LEAST_CONTRAST, decode_deep, fingerprint, is_flat
from pipeline.intake.listing import Listing, Record
from pipeline.params.model import Params

# Pictures that a worker reads at a time: enough to hide the hand-over, few enough bytes to keep memory flat.
CHUNK, CHUNK_BYTES = 1536, 8 * 2**20
# Bytes of encoded pictures after which a worker returns no more of them.
RESULT_BYTES = 32 * 2**20


class IngestedPicture(NamedTuple):
    """A picture file and what decoding it tells. The first four fields are columns of `schema.ingested`.

    A worker leaves out `image` once it has returned `RESULT_BYTES` of a chunk. The parent reads those files again: it
    would otherwise hold all files of all chunks.

    Attributes:
        image: the file; None if a worker left it out.
        width: pixels, turned as the EXIF data says.
        height: likewise.
        pixels: the fingerprint of the decoded picture.
        bits: bits that its samples used, see `depth.eight_bits`; None if they had 8 bits.
        flat: whether it has no contrast.
    """

    image: bytes | None
    width: int
    height: int
    pixels: str
    bits: int | None
    flat: bool


@dataclass(frozen=True)
class PictureReader:
    """Reads and decodes pictures, one at a time, each of them once.

    Args:
        read: returns the encoded picture at a place, or raises `Rejection`.
        keep_flat: whether a picture without contrast is kept.
    """

    read: Callable[[str], bytes]
    keep_flat: bool

    def __call__(self, places: list[str]) -> list[IngestedPicture | Rejection]:
        """Return the picture at each place, or why it is rejected."""
        pictures, size = [], 0
        for place in places:
            picture = self._picture(place)
            if isinstance(picture, IngestedPicture) and picture.image:
                size += len(picture.image)
                if size > RESULT_BYTES:
                    picture = picture._replace(image=None)
            pictures.append(picture)
        return pictures

    def whole(self, picture: IngestedPicture | Rejection, place: str) -> IngestedPicture | Rejection:
        """Return a picture with its file, which is read again if a worker left it out."""
        if isinstance(picture, Rejection) or picture.image is not None:
            return picture
        try:
            return picture._replace(image=self.read(place))
        except Rejection as why:
            return why

    def _picture(self, place: str) -> IngestedPicture | Rejection:
        try:
            image = self.read(place)
            pixels, bits = decode_deep(image)
        except Rejection as why:
            return why
        flat = is_flat(pixels)
        if flat and not self.keep_flat:
            allowed = f"{LEAST_CONTRAST} levels of 255 between the darkest and the lightest pixel"
            return Rejection.of("no_contrast", "pixels of one colour", allowed)
        height, width = pixels.shape[:2]
        return IngestedPicture(image, width, height, fingerprint(pixels), bits, flat)


def read_pictures(
    listing: Listing, p: Params
) -> Iterator[Iterator[tuple[Record, IngestedPicture | Rejection]]]:
    """Yield the records of a listing in the order of their names, each with its picture or why it has none, in chunks.

    Args:
        listing: of a data set.
        p: `params.yaml`; `engine`, `workers` and `memory` say who reads.
    """
    pending: deque[list[Record]] = deque()
    count = CHUNK // 8  # until the first pictures tell their size

    def places() -> Iterator[list[str]]:
        records = iter(listing)
        while chunk := list(islice(records, count)):
            pending.append(chunk)
            yield [record.place for record in chunk]

    reader = PictureReader(listing.read, listing.keep_flat)
    # A worker decodes one picture at a time. Its size is not known before it is read.
    workers = fitting(p.workers, p.memory, LARGEST + RESULT_BYTES)
    for pictures in ordered(reader, places(), p.engine, workers):
        records = pending.popleft()
        files = [picture.image for picture in pictures if isinstance(picture, IngestedPicture)]
        size, returned = sum(map(len, filter(None, files))), len(pictures) - files.count(None)
        count = max(1, min(CHUNK, CHUNK_BYTES * returned // max(1, size)))
        yield zip(records, map(reader.whole, pictures, (record.place for record in records)), strict=True)
