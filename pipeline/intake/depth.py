"""Images whose samples do not have 8 bits: which of them can be shown, and how they become 8 bits."""

from __future__ import annotations

import re
from typing import IO, NamedTuple

import cv2
import numpy as np
from PIL import TiffImagePlugin as tags

from pipeline.intake.guards import Rejection

ALLOWED = "unsigned samples of 8 bits, or of 16 bits in grey or RGB and in one plane"
PFM = re.compile(rb"P[Ff]\s")
TIFF = re.compile(rb"II[*+]\0|MM\0[*+]")
# Magic number, width, height and largest value. A comment runs to the end of its line.
_PNM = re.compile(rb"P[2356](?:(?:\s|#[^\r\n]*[\r\n])+(\d{1,9})){3}")
_PLAIN = (b"P2", b"P3")  # numbers as text, which OpenCV scales itself unless they exceed 255
# Values of TIFF's tags SampleFormat and PhotometricInterpretation.
_KINDS = {2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE = range(4)
_INKS = {5: "CMYK", 6: "YCbCr", 8: "Lab"}
_UNASSOCIATED = 2  # of ExtraSamples: alpha by which the colours are yet to be multiplied


class Tiff(NamedTuple):
    """Return what the header of a TIFF file says of its first image.

    Attributes:
        width: pixels.
        height: pixels.
        inverted: whether its 16-bit samples are 0 for white. OpenCV inverts 8-bit samples alone.
        alpha: whether OpenCV would multiply its colours by their alpha.
    """

    width: int
    height: int
    inverted: bool
    alpha: bool

    @classmethod
    def read(cls, file: IO[bytes]) -> Tiff:
        """Read the header.

        Raises:
            Rejection: `unsupported_depth`: OpenCV cannot decode the samples, or decodes them wrongly.
            Exception: of any type, for a damaged header.
        """
        head = file.read(8)
        directory = tags.ImageFileDirectory_v2(head + file.read(8 if b"+" in head[2:4] else 0))
        file.seek(directory.next)
        directory.load(file)
        bits = max(directory.get(tags.BITSPERSAMPLE, (1,)))
        kind = _KINDS.get(max(directory.get(tags.SAMPLEFORMAT, (1,))), "unsigned")
        samples = directory.get(tags.SAMPLESPERPIXEL, 1)
        colour = directory.get(tags.PHOTOMETRIC_INTERPRETATION, _BLACK_IS_ZERO)
        planes = samples > 1 and directory.get(tags.PLANAR_CONFIGURATION) == 2
        few = bits in (1, 8) or (bits, colour) == (4, _PALETTE)
        many = bits in (10, 12, 14, 16) and colour in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB) and not planes
        if kind != "unsigned" or not (few or many):
            found = f"{bits}-bit {kind} {_INKS.get(colour, '')}".rstrip() + " samples"
            raise Rejection.of("unsupported_depth", found + " in several planes" * planes, ALLOWED)
        return cls(
            int(directory[tags.IMAGEWIDTH]),
            int(directory[tags.IMAGELENGTH]),
            many and colour == _WHITE_IS_ZERO,
            (bits, colour, directory.get(tags.EXTRASAMPLES)) == (8, _RGB, (_UNASSOCIATED,)),
        )


def eight_bits(pixels: np.ndarray, data: bytes) -> tuple[np.ndarray, int | None]:
    """Return the samples of an image in 8 bits, and the number of bits that they used.

    A PGM or PPM file declares its largest value, which becomes 255. Other files of 16 bits do not say how many of them
    a camera filled. They are taken to use the fewest of 8, 10, 12, 14 and 16 bits that hold the image's largest
    sample, and the upper 8 of these are kept. So an image with a sample above 16,383 keeps the upper byte of each
    sample. Images of one 12-bit camera are scaled alike if each has a sample above 1,023; a darker one comes out four
    times as bright as the others. The image's own minimum and maximum would scale each image in its own way.

    Args:
        pixels: uint8 or uint16, H x W x 3, as OpenCV decodes them. 16-bit samples are overwritten.
        data: the image's file.

    Returns:
        uint8, H x W x 3, and the bits; None if 8-bit samples are returned as they are.
    """
    declared = _PNM.match(data)
    most = int(declared[1]) if declared else 0
    scaled = data.startswith(_PLAIN) and most < 255
    if most not in (0, 255, 65535) and not scaled:
        return cv2.convertScaleAbs(pixels, alpha=255 / most), most.bit_length()
    if pixels.dtype == np.uint8:
        return pixels, None
    bits = max(8, int(pixels.max()).bit_length())
    bits += bits % 2
    return np.right_shift(pixels, bits - 8, out=pixels).astype(np.uint8), bits
