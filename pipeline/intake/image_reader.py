"""Read, measure and decode the images of a listing, in several processes."""

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

# Images that a worker reads at a time: enough to hide the hand-over, few enough bytes to keep memory flat.
CHUNK, CHUNK_BYTES = 1536, 8 * 2**20
# Bytes of encoded images after which a worker returns no more of them.
RESULT_BYTES = 32 * 2**20


class IngestedImage(NamedTuple):
    """An image file and what decoding it tells. The first four fields are columns of `schema.ingested`.

    A worker leaves out `image` once it has returned `RESULT_BYTES` of a chunk. The parent reads those files again: it
    would otherwise hold all files of all chunks.

    Attributes:
        image: the file; None if a worker left it out.
        width: pixels, turned as the EXIF data says.
        height: likewise.
        pixels: the fingerprint of the decoded image.
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
class ImageReader:
    """Reads and decodes images, one at a time, each of them once.

    Args:
        read: returns the encoded image at a place, or raises `Rejection`.
        keep_flat: whether an image without contrast is kept.
    """

    read: Callable[[str], bytes]
    keep_flat: bool

    def __call__(self, places: list[str]) -> list[IngestedImage | Rejection]:
        """Return the image at each place, or why it is rejected."""
        read, size = [], 0
        for place in places:
            ingested = self._ingested(place)
            if isinstance(ingested, IngestedImage) and ingested.image:
                size += len(ingested.image)
                if size > RESULT_BYTES:
                    ingested = ingested._replace(image=None)
            read.append(ingested)
        return read

    def whole(self, ingested: IngestedImage | Rejection, place: str) -> IngestedImage | Rejection:
        """Return an image with its file, which is read again if a worker left it out."""
        if isinstance(ingested, Rejection) or ingested.image is not None:
            return ingested
        try:
            return ingested._replace(image=self.read(place))
        except Rejection as why:
            return why

    def _ingested(self, place: str) -> IngestedImage | Rejection:
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
        return IngestedImage(image, width, height, fingerprint(pixels), bits, flat)


def read_images(listing: Listing, p: Params) -> Iterator[Iterator[tuple[Record, IngestedImage | Rejection]]]:
    """Yield the records of a listing in the order of their names, each with its image or why it has none, in chunks.

    Args:
        listing: of a data set.
        p: `params.yaml`; `engine`, `workers` and `memory` say who reads.
    """
    pending: deque[list[Record]] = deque()
    count = CHUNK // 8  # until the first images tell their size

    def places() -> Iterator[list[str]]:
        records = iter(listing)
        while chunk := list(islice(records, count)):
            pending.append(chunk)
            yield [record.place for record in chunk]

    reader = ImageReader(listing.read, listing.keep_flat)
    # A worker decodes one image at a time. Its size is not known before it is read.
    workers = fitting(p.workers, p.memory, LARGEST + RESULT_BYTES)
    for read in ordered(reader, places(), p.engine, workers):
        records = pending.popleft()
        files = [ingested.image for ingested in read if isinstance(ingested, IngestedImage)]
        size, returned = sum(map(len, filter(None, files))), len(read) - files.count(None)
        count = max(1, min(CHUNK, CHUNK_BYTES * returned // max(1, size)))
        yield zip(records, map(reader.whole, read, (record.place for record in records)), strict=True)
