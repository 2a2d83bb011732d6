"""Images that do not have 8 bits, or hold nothing: read right, or listed with what was found."""

import csv
import io
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from pipeline.intake.guards import Rejection
from pipeline.intake.image import LEAST_CONTRAST, decode, decode_deep, is_flat
from pipeline.prediction.face_finder import read
from pipeline.prediction.sources import InputImage, images, listed
from pipeline.stages import ingest
from tests import odd_images as odd
from tests import toy

SHARED = Path(os.environ.get("FER_SHARED", Path(__file__).parents[2] / "shared")) / "data"
SHOWN = np.asarray(odd.smooth(8))  # RGB, 24 x 32


def tiff(values: np.ndarray, photometric: str, **options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, values, photometric=photometric, **options)
    return file.getvalue()


def pnm(values: np.ndarray, most: int, plain: bool = False) -> bytes:
    grey = values.ndim == 2
    name = {(True, False): "P5", (False, False): "P6", (True, True): "P2", (False, True): "P3"}[grey, plain]
    head = f"{name}\n# by hand\n{values.shape[1]} {values.shape[0]} # and\n{most}\n".encode()
    if plain:
        return head + " ".join(map(str, values.ravel())).encode() + b"\n"
    return head + values.astype(">u2" if most > 255 else "u1").tobytes()


def deep(bits: int, *, colour: bool) -> np.ndarray:
    """Return `SHOWN`, or its red channel, in the lower bits of uint16. Below its 8 bits lies noise."""
    upper = (SHOWN if colour else SHOWN[..., 0]).astype(np.uint16) << (bits - 8)
    return upper + np.random.default_rng(bits).integers(0, 2 ** (bits - 8), upper.shape, np.uint16)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_sixteen_bit_files_show_what_their_camera_saw(bits: int) -> None:
    grey, colour = (deep(bits, colour=kind) for kind in (False, True))
    alpha = np.full_like(grey, 2**16 - 1)
    files = {
        "grey PNG": cv2.imencode(".png", grey)[1].tobytes(),
        "grey TIFF": tiff(grey, "minisblack"),
        "grey TIFF in tiles": tiff(np.tile(grey, (2, 2)), "minisblack", tile=(32, 32)),
        "grey TIFF, other byte order": tiff(grey.astype(">u2"), "minisblack", byteorder=">"),
        "PGM": pnm(grey, 2**16 - 1),
        "PNG": cv2.imencode(".png", colour[..., ::-1])[1].tobytes(),
        "PNG with alpha": cv2.imencode(".png", np.dstack([colour[..., ::-1], alpha]))[1].tobytes(),
        "TIFF": tiff(colour, "rgb"),
        "TIFF with alpha": tiff(np.dstack([colour, alpha]), "rgb", extrasamples=["unassalpha"]),
        "big TIFF": tiff(colour, "rgb", bigtiff=True, compression="zlib", predictor=True),
        "PPM": pnm(colour, 2**16 - 1),
    }
    for name, data in files.items():
        found, used = decode_deep(data)
        shown = SHOWN[..., ::-1] if found[..., 0].tobytes() != found[..., 2].tobytes() else SHOWN[..., :1]
        assert used == bits, name
        assert (found[:24, :32] == shown).all(), name


def test_dark_images_of_a_camera_stay_darker_than_its_light_ones() -> None:
    light = deep(12, colour=False)
    dark = light // 3
    assert dark.max() > 1023
    found, expected = (decode(cv2.imencode(".png", values)[1].tobytes()) for values in (dark, light))
    assert np.abs(found * 3.0 - expected).max() <= 3


@pytest.mark.parametrize("most", [1, 15, 100, 200, 254, 256, 300, 1000, 1023, 4095, 5000, 65534])
@pytest.mark.parametrize("plain", [False, True])
def test_the_largest_value_that_a_pgm_or_ppm_declares_is_white(most: int, plain: bool) -> None:
    values = np.rint(SHOWN / 255 * most).astype(int)
    values[0, 0] = most
    data = pnm(values, most, plain)
    assert np.abs(decode(data).astype(int) - odd.as_pillow(data)).max() <= 1
    data = pnm(values[..., 1], most, plain)
    with Image.open(io.BytesIO(data)) as image:
        theirs = np.asarray(image) / (257 if image.mode.startswith("I") else 1)
    assert np.abs(decode(data) - theirs[..., None]).max() <= 1


def test_white_may_be_zero_in_a_tiff() -> None:
    dark, light = (tiff(values, "miniswhite") for values in (deep(16, colour=False), SHOWN[..., 0]))
    with Image.open(io.BytesIO(light)) as image:  # it inverts 8 bits, and not 16
        np.testing.assert_array_equal(decode(light)[..., 0], image)
    np.testing.assert_array_equal(decode(dark), decode(light))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_lies_as_its_tag_says(orientation: int) -> None:
    files = [odd.turned("TIFF", orientation)]
    exif = Image.Exif()
    exif[0x0112] = orientation
    files.append(odd.encoded(odd.alpha(), "TIFF", exif=exif))
    tag = (0x0112, "H", 1, orientation, True)
    for data in (*files, tiff(SHOWN, "rgb", extratags=[tag])):
        np.testing.assert_array_equal(decode(data), odd.as_pillow(data))
    with Image.open(io.BytesIO(data)) as image:
        upright = np.asarray(ImageOps.exif_transpose(image))[..., ::-1]
    np.testing.assert_array_equal(decode(tiff(deep(16, colour=True), "rgb", extratags=[tag])), upright)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "BMP"])
def test_transparent_pixels_have_the_colours_that_the_file_stores(kind: str) -> None:
    image = odd.alpha()
    data = odd.encoded(image, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    np.testing.assert_array_equal(decode(data), np.asarray(image)[..., 2::-1])


def test_transparent_pixels_of_a_gif_have_its_background_s_colour() -> None:
    image = odd.smooth(1).quantize(9)
    found = decode(odd.encoded(image, "GIF", transparency=3, background=5))
    colours = np.array(image.convert("RGB"))[..., ::-1]
    clear = np.asarray(image) == 3
    np.testing.assert_array_equal(found[~clear], colours[~clear])
    assert (found[clear] == colours[np.asarray(image) == 5][0]).all()


UNSUPPORTED = {
    "16-bit floating-point": tiff(np.float16(SHOWN[..., 0]), "minisblack"),
    "32-bit floating-point": tiff(np.float32(SHOWN[..., 0]) / 255, "minisblack"),
    "32-bit floating-point ": tiff(np.float32(SHOWN), "rgb"),
    "32-bit floating-point  ": b"Pf\n32 24\n-1.0\n" + np.float32(SHOWN[..., 0]).tobytes(),
    "32-bit floating-point   ": b"PF\n32 24\n-1.0\n" + np.float32(SHOWN).tobytes(),
    "64-bit floating-point": tiff(np.float64(SHOWN[..., 0]), "minisblack"),
    "64-bit complex": tiff(np.complex64(SHOWN[..., 0]), "minisblack"),
    "8-bit signed": tiff(np.int8(SHOWN[..., 0] // 2), "minisblack"),
    "16-bit signed": tiff(np.int16(SHOWN[..., 0]), "minisblack"),
    "32-bit unsigned": tiff(np.uint32(SHOWN[..., 0]), "minisblack"),
    "32-bit signed": tiff(np.int32(SHOWN), "rgb"),
    "16-bit unsigned CMYK": tiff(np.uint16(np.dstack([SHOWN, SHOWN[..., :1]])), "separated"),
    "16-bit unsigned samples in several planes": tiff(
        np.moveaxis(np.uint16(SHOWN), 2, 0), "rgb", planarconfig="separate"
    ),
}


@pytest.mark.parametrize("found", UNSUPPORTED)
def test_samples_that_cannot_be_shown_are_named(found: str, tmp_path: Path) -> None:
    with pytest.raises(Rejection) as refused:
        decode(UNSUPPORTED[found])
    assert refused.value.reason == "unsupported_depth"
    assert str(refused.value).startswith(f"found {found.strip()}")
    assert "allowed: unsigned samples of 8 bits, or of 16 bits in grey or RGB" in str(refused.value)

    path = tmp_path / "a.tif"
    path.write_bytes(UNSUPPORTED[found])
    (image,) = images(listed([path]))
    assert image.error == str(refused.value), "fer predict says the same, before it decodes"


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_what_is_not_known_of_a_tiff_is_damage() -> None:
    data = tiff(SHOWN, "rgb")
    for broken in (data[:8], data[:20], data[:4] + b"\xff" * 4 + data[8:], b"MM\0+" + data[4:]):
        with pytest.raises(Rejection, match="the header is damaged: ") as refused:
            decode(broken)
        assert refused.value.reason == "unreadable_image"
    with pytest.raises(Rejection, match="cannot be decoded: ") as refused:
        decode(odd.encoded(odd.alpha(), "TIFF", compression="tiff_lzw")[:-40])


# ------------------------------------------------------------------------------------------- contrast


def flat(levels: int, noise: bool = False) -> np.ndarray:
    """Return an image whose darkest and lightest pixels are `levels` apart in one channel."""
    image = np.full((24, 32, 3), (200, 30, 90), np.uint8)
    image[5, 7, 1] += levels
    if noise:
        image[..., 1] = 30 + np.random.default_rng(1).integers(0, levels + 1, (24, 32))
    return image


@pytest.mark.parametrize("noise", [False, True])
def test_an_image_of_one_colour_has_no_contrast(noise: bool) -> None:
    assert is_flat(flat(0))
    assert is_flat(flat(LEAST_CONTRAST - 1, noise))
    assert not is_flat(flat(LEAST_CONTRAST, noise))


def test_no_face_of_fer_plus_is_taken_for_one_colour() -> None:
    folder = SHARED / "ferplus"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here")
    darkest = [folder / f"FER2013Train/fer00{number}.png" for number in (20365, 13885, 16370)]
    spans = []
    for path in (*darkest, *sorted((folder / "FER2013Valid").glob("*.png"))):
        pixels = decode(path.read_bytes())
        assert not is_flat(pixels), path
        spans.append(int(pixels.max()) - int(pixels.min()))
    assert min(spans) == 48


def test_ingest_counts_deep_images_and_lists_those_without_contrast(project: Path) -> None:
    folder = Path("data/raw/table")
    (folder / "images").mkdir(parents=True)
    files = {f"{bits}.png": cv2.imencode(".png", deep(bits, colour=True))[1].tobytes() for bits in (8, 12)}
    files |= {"also12.tif": tiff(deep(12, colour=False), "minisblack"), "usual.png": files["8.png"]}
    files["usual.png"] = odd.encoded(odd.smooth(1), "PNG")
    files |= {"flat.png": cv2.imencode(".png", flat(3))[1].tobytes()}
    files |= {"lens_cap.png": cv2.imencode(".png", flat(0).astype(np.uint16) * 257)[1].tobytes()}
    files |= {
        "dot.png": odd.encoded(odd.smooth(1).resize((1, 1)), "PNG"),
        "float.tif": UNSUPPORTED["64-bit complex"],
    }
    for name, data in files.items():
        (folder / "images" / name).write_bytes(data)
    lines = ["image,split,label", *(f"{name},train,fear" for name in files)]
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    ingest.run(toy.PARAMS, "table")

    metrics = json.loads(Path("metrics/ingest/table.json").read_text())
    assert metrics["kept"] == 4
    assert metrics["rejected"] == {"no_contrast": 3, "unsupported_depth": 1}
    assert metrics["notes"] == {"bits_used": {"8": 1, "12": 2}, "images_without_row": 0}
    with open("data/ingested/table.rejected.csv", newline="") as file:
        details = {row["record"]: row["detail"] for row in csv.DictReader(file)}
    allowed = "8 levels of 255 between the darkest and the lightest pixel"
    assert details["flat.png"] == f"found pixels of one colour, allowed: {allowed}"
    assert details["float.tif"].startswith("found 64-bit complex samples, allowed: ")

    for name in ("12.png", "also12.tif", "flat.png"):  # `fer predict` decodes in the same way
        (source,) = listed([folder / "images" / name])
        np.testing.assert_array_equal(read(InputImage(source)), decode(files[name]))
