"""The faces a run trains on or scores, and their targets, drawn from several tables without copying them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import torch
from torch import Tensor

from pipeline.core.errors import UserError
from pipeline.params.model import Params
from pipeline.tables.paths import ALIGNED, LABELS
from pipeline.tables.schema import MADE_FROM, channels
from pipeline.tables.store import Faces, read_parquet

# A set of faces moves to the GPU whole if it takes at most this share of the free memory there.
RESIDENT_SHARE = 0.5


@dataclass
class Samples:
    """Samples in a fixed order: where each one's face lies and what its target is.

    Args:
        ids: N ids.
        tables: the tables that hold the faces, all of the same shape.
        table: index into `tables` of each sample, int [N].
        row: row in that table of each sample, int [N].
        targets: share of each class, float32 [N, K], rows of sum 1.
        labels: class index of each sample, int64 [N].
    """

    ids: list[str]
    tables: Sequence[Faces]
    table: np.ndarray
    row: np.ndarray
    targets: Tensor
    labels: Tensor
    _resident: Tensor | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device) -> Samples:
        """Keep the faces on `device` if it is a GPU with room for them; targets always move."""
        self.targets = self.targets.to(device)
        if device.type == "cuda" and len(self):
            height, width, channels = self.tables[0].shape
            free, _ = torch.cuda.mem_get_info(device)
            if len(self) * height * width * channels <= RESIDENT_SHARE * free:
                self._resident = torch.from_numpy(self.gather(np.arange(len(self)))).to(device)
        return self

    def part(self, rows: slice) -> Samples:
        """Return some of the samples."""
        return Samples(
            self.ids[rows],
            self.tables,
            self.table[rows],
            self.row[rows],
            self.targets[rows],
            self.labels[rows],
            None if self._resident is None else self._resident[rows],
        )

    def at(self, rows: np.ndarray) -> Samples:
        """Return the samples at some places, int64 [n], in that order."""
        ids = [self.ids[row] for row in rows.tolist()]
        chosen = torch.from_numpy(rows)
        return Samples(
            ids, self.tables, self.table[rows], self.row[rows], self.targets[chosen], self.labels[chosen]
        )

    def take(self, samples: Tensor) -> Tensor:
        """Return the faces of `samples`, int64 [n], as uint8 [n, H, W, C] on the device of the targets."""
        if self._resident is not None:
            return self._resident[samples.to(self._resident.device)]
        faces = torch.from_numpy(self.gather(samples.cpu().numpy()))
        return faces.to(self.targets.device, non_blocking=True)

    def gather(self, samples: np.ndarray) -> np.ndarray:
        """Return the faces of `samples`, int64 [n], as a new array, uint8 [n, H, W, C]."""
        shape = self.tables[0].shape if self.tables else (0, 0, 0)
        faces = np.empty((len(samples), *shape), np.uint8)
        for i, (table, row) in enumerate(zip(self.table[samples], self.row[samples], strict=True)):
            faces[i] = self.tables[table][row]
        return faces


def real(split: str, p: Params) -> Samples:
    """Return the labelled samples of a split, in the order of `data/labels.parquet`.

    Raises:
        UserError: a table is absent, or was made with other parameters.
    """
    table = read_parquet(LABELS, ["id", "split", "label", "target"])
    made_with = (table.schema.metadata or {}).get(b"classes", b"").decode()
    if made_with != ",".join(p.classes):
        raise UserError.of(LABELS, f"classes {made_with}", f"{','.join(p.classes)}: run `dvc repro`")
    table = table.filter(pc.equal(table["split"], split))
    tables = [_faces(ALIGNED / f"{name}.arrow", p) for name in p.datasets]
    places = {id_: (t, row) for t, faces in enumerate(tables) for row, id_ in enumerate(faces.ids())}
    ids = table["id"].to_pylist()
    try:
        found = np.array([places[id_] for id_ in ids], np.int64).reshape(-1, 2)
    except KeyError as error:
        raise UserError(f"{LABELS}: {error.args[0]!r} is in no table of {ALIGNED}: run `dvc repro`") from None
    targets = np.array(table["target"].to_pylist(), np.float32).reshape(-1, len(p.classes))
    labels = torch.tensor([p.classes.index(name) for name in table["label"].to_pylist()], dtype=torch.int64)
    return Samples(ids, tables, found[:, 0], found[:, 1], torch.from_numpy(targets), labels)


def learnable(p: Params) -> Samples:
    """Return the training samples that a GAN and whatever judges it may learn from.

    Pictures that valid or test hold too, pixel by pixel or nearly, are left out, and of those that the training split
    holds several times all but the first.

    Raises:
        UserError: as `real`.
    """
    samples = real("train", p)
    table = read_parquet(LABELS, ["split", "cluster"])
    splits, clusters = table["split"].to_pylist(), table["cluster"].to_pylist()
    gone = {cluster for split, cluster in zip(splits, clusters, strict=True) if split != "train"} - {None}
    kept, row = [], 0
    for split, cluster in zip(splits, clusters, strict=True):
        if split == "train":
            if cluster not in gone:
                kept.append(row)
                gone |= {cluster} - {None}
            row += 1
    return samples.at(np.array(kept, np.int64))


def digest(samples: Samples) -> str:
    """Return the SHA-256 over ids, labels and faces of samples: what a generated table says it was made from."""
    found = hashlib.sha256("\n".join(samples.ids).encode())
    found.update(samples.labels.numpy().tobytes())
    for start in range(0, len(samples), 4096):
        found.update(samples.gather(np.arange(start, min(start + 4096, len(samples)))).data)
    return found.hexdigest()


def _faces(path: Path, p: Params) -> Faces:
    faces = Faces(path)
    wanted = (p.align.face_size, p.align.face_size, channels(p.align.colour))
    if faces.shape != wanted:
        found, allowed = ("x".join(map(str, shape)) for shape in (faces.shape, wanted))
        raise UserError.of(path, f"faces of {found}", f"{allowed} (params.yaml): run `dvc repro`")
    return faces


def with_synthetic(samples: Samples, path: Path, p: Params) -> Samples:
    """Return training samples followed by the generated faces in `path`, whose targets are their classes.

    With `train.synthetic: alone` the generated faces alone.

    Raises:
        UserError: the table is absent, was made with other parameters, or by a GAN that learned from another split.
    """
    faces = _faces(path, p)
    if not len(faces):
        if p.train.synthetic == "alone":
            raise UserError.of(path, "no faces", "some while train.synthetic is alone")
        return samples
    made_from = (faces.table.schema.metadata or {}).get(MADE_FROM, b"").decode()
    if made_from != (ours := digest(learnable(p))):
        found = f"faces made from another training split ({made_from[:12] or 'unknown'})"
        raise UserError.of(path, found, f"from {ours[:12]}: run `dvc repro`")
    names = faces.table["label"].to_pylist()
    if unknown := sorted(set(names) - set(p.classes)):
        raise UserError.of(path, f"class {unknown[0]}", f"{', '.join(p.classes)}: run `dvc repro`")
    labels = torch.tensor([p.classes.index(name) for name in names])
    targets = torch.nn.functional.one_hot(labels, len(p.classes)).float()
    if p.train.synthetic == "alone":
        samples = samples.at(np.array([], np.int64))
    return Samples(
        samples.ids + faces.ids(),
        [*samples.tables, faces],
        np.concatenate([samples.table, np.full(len(faces), len(samples.tables))]),
        np.concatenate([samples.row, np.arange(len(faces))]),
        torch.cat([samples.targets, targets]),
        torch.cat([samples.labels, labels]),
    )


def scaled(faces: Tensor) -> Tensor:
    """Return uint8 [n, H, W, C] as float32 [n, C, H, W] in 0..1; channels-last, as the bytes already lie."""
    return faces.permute(0, 3, 1, 2).float().div_(255)
