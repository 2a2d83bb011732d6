"""The tables between stages: columns, types, units. `tables.store` writes and reads them."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from pipeline.tables.vocabulary import VOTES

# Metadata of the ingested table: splits, joined by commas, that the data set does not publish and that `label` draws
# from its training images. Absent if there are none.
DRAW = b"draw"
# Metadata of the ingested table: the names that its votes and labels can have, joined by commas. Absent if they are
# `VOTES`.
VOCABULARY = b"vocabulary"
# Metadata of the tables of labels and predictions: the class names in label order, joined by commas.
CLASSES = b"classes"
# Metadata of the table of generated faces: SHA-256 of the samples that the GAN learned from, and their data sets.
MADE_FROM, DATASETS = b"made_from", b"datasets"


def _votes(vocabulary: Sequence[str]) -> pa.StructType:
    return pa.struct([pa.field(name, pa.int32(), nullable=False) for name in vocabulary])


_INGESTED = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),  # "<dataset>/<name>", unique over all data sets
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("split", pa.string()),  # train, valid, test; null where the data set publishes none
        pa.field("image", pa.binary(), nullable=False),  # the encoded file, as published
        pa.field("width", pa.int32(), nullable=False),  # pixels
        pa.field("height", pa.int32(), nullable=False),  # pixels
        # Annotators per vocabulary entry; null where the data set has single labels.
        pa.field("votes", _votes(VOTES)),
        pa.field("label", pa.string()),  # class name, null where the data set has votes
        # Subject or person; null if the data set names none, unless the image has several records: then the image.
        pa.field("group", pa.string()),
        pa.field("source", pa.string(), nullable=False),  # file and row the record came from
        pa.field("pixels", pa.string(), nullable=False),  # SHA-256 of the decoded pixels and their shape
        # (of one of several faces in an image: and of its box)
        # Published by the data set, as in `aligned`; null if it gives none or they do not lie in the image.
        pa.field("box", pa.list_(pa.float32(), 4)),
        pa.field("landmarks", pa.list_(pa.float32(), 10)),
        # Of the person in the image, in words by name: gender, age, race, ...; null if the data set gives none.
        pa.field("attributes", pa.map_(pa.string(), pa.string())),
    ]
)

_LABELS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field(
            "target", pa.list_(pa.float32()), nullable=False
        ),  # one share per class in class order, sum 1
        pa.field("duplicate_of", pa.string()),  # first id with identical pixels; null if it is this row
        # First id among the rows with the same or nearly the same image; null if there is no other row.
        pa.field("cluster", pa.string()),
        pa.field("attributes", pa.map_(pa.string(), pa.string())),  # as in the ingested table
    ]
)

_PREDICTIONS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),  # one of vocabulary.SCORED
        pa.field("label", pa.string(), nullable=False),
        pa.field("predicted", pa.string(), nullable=False),
        pa.field("probabilities", pa.list_(pa.float32()), nullable=False),  # one per class, in class order
        # Place of the face's features on the plane on which those of training faces spread most.
        pa.field("x", pa.float32(), nullable=False),
        pa.field("y", pa.float32(), nullable=False),
    ]
)


def ingested(draw: Sequence[str] = (), vocabulary: Sequence[str] = VOTES) -> pa.Schema:
    """Return the schema of `data/ingested/<dataset>.parquet`.

    Args:
        draw: splits that the data set does not publish. They go into the metadata, and `label` draws them.
        vocabulary: names that votes and labels can have. They go into the metadata too.
    """
    metadata = {DRAW: ",".join(draw)} if draw else {}
    columns = _INGESTED
    if tuple(vocabulary) != VOTES:
        metadata[VOCABULARY] = ",".join(vocabulary)
        columns = columns.set(columns.get_field_index("votes"), pa.field("votes", _votes(vocabulary)))
    return columns.with_metadata(metadata)


def vocabulary_of(columns: pa.Schema) -> tuple[str, ...]:
    """Return the names that the votes and labels of an ingested table can have, in the order of its votes."""
    recorded = (columns.metadata or {}).get(VOCABULARY, b"").decode()
    return tuple(recorded.split(",")) if recorded else VOTES


def labels(classes: Sequence[str]) -> pa.Schema:
    """Return the schema of `data/labels.parquet`; its metadata holds the order of the shares in `target`."""
    return _LABELS.with_metadata({CLASSES: ",".join(classes)})


def predictions(classes: Sequence[str]) -> pa.Schema:
    """Return the schema of `data/predictions.parquet`; its metadata holds the order of the probabilities."""
    return _PREDICTIONS.with_metadata({CLASSES: ",".join(classes)})


def classes_of(columns: pa.Schema) -> list[str]:
    """Return the classes of a table of labels or predictions; empty if it does not name them."""
    recorded = (columns.metadata or {}).get(CLASSES, b"").decode()
    return recorded.split(",") if recorded else []


def channels(colour: bool) -> int:
    """Return the number of channels of an aligned face: 3 (RGB) or 1 (grey)."""
    return 3 if colour else 1


def aligned(size: int, channels: int) -> pa.Schema:
    """Return the schema of `data/aligned/<dataset>.arrow` for faces of size x size pixels.

    `face` holds size * size * channels bytes in H, W, C order (RGB if 3 channels). `status` is `found` (face
    detected, or given by the data set), `whole` (the whole image, or the box that the data set gives, replaces the
    face) or `missing` (no face, and `face` is zero). `box` and `landmarks` are pixels of the image, null unless
    found. The landmarks are left eye, right eye, nose, left and right mouth corner as seen in the image, x before y.
    A face given by the data set has no score. If the data set gives only one of box and landmarks, the other is null.
    """
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("status", pa.string(), nullable=False),
            pa.field("face", pa.binary(size * size * channels), nullable=False),
            pa.field("box", pa.list_(pa.float32(), 4)),  # x1, y1, x2, y2
            pa.field("landmarks", pa.list_(pa.float32(), 10)),  # 5 x (x, y)
            pa.field("score", pa.float32()),  # the detector's, 0 to 1
        ],
        metadata={"height": str(size), "width": str(size), "channels": str(channels)},
    )


def synthetic(size: int, channels: int, made_from: str, datasets: Sequence[str] = ()) -> pa.Schema:
    """Return the schema of `data/synthetic.arrow`: generated faces, with the layout of `aligned`.

    `made_from` is the hash of the samples that the GAN learned from, and `datasets` names their data sets. Both go
    into the metadata.
    """
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("label", pa.string(), nullable=False),
            pa.field("face", pa.binary(size * size * channels), nullable=False),
            pa.field("seed", pa.int64(), nullable=False),  # of the latent vector
            pa.field("generator", pa.string(), nullable=False),  # method, class and SHA-256 of the weights
        ],
        metadata={"height": str(size), "width": str(size), "channels": str(channels)}
        | {MADE_FROM.decode(): made_from, DATASETS.decode(): ",".join(datasets)},
    )
