"""The faces that a run trains on or scores, with their targets. Faces stay in their tables until they are needed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from pipeline.core.errors import UserError
from pipeline.core.progress import track
from pipeline.params.model import Align
from pipeline.tables.columns import Texts, numbers, places, texts
from pipeline.tables.paths import ALIGNED, LABELS
from pipeline.tables.schema import DATASETS, MADE_FROM, channels, classes_of
from pipeline.tables.store import Faces, read_parquet

# A set of faces moves to the GPU if it takes at most this share of the free memory there.
RESIDENT_SHARE = 0.5


@dataclass
class Samples:
    """Samples in a fixed order.

    Args:
        ids: N texts.
        tables: the tables that hold the faces, all of one shape.
        table: index into `tables` of each sample, int [N].
        row: row in that table of each sample, int [N].
        targets: share of each class, float32 [N, K], rows of sum 1.
        labels: class index of each sample, int64 [N].
    """

    ids: pa.Array
    tables: Sequence[Faces]
    table: np.ndarray
    row: np.ndarray
    targets: Tensor
    labels: Tensor
    _resident: Tensor | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return height, width and channels of a face."""
        return self.tables[0].shape

    def to(self, device: torch.device) -> Samples:
        """Move the targets to `device`, and the faces too if it is a GPU with room for them; return the samples."""
        self.targets = self.targets.to(device)
        if device.type == "cuda" and len(self):
            free, _ = torch.cuda.mem_get_info(device)
            if len(self) * int(np.prod(self.shape)) <= RESIDENT_SHARE * free:
                self._resident = torch.from_numpy(self.gather(np.arange(len(self)))).to(device)
        return self

    def at(self, rows: np.ndarray) -> Samples:
        """Return the samples in `rows`, int64 [n], in that order."""
        ids, chosen = self.ids.take(rows), torch.from_numpy(rows)
        return Samples(
            ids, self.tables, self.table[rows], self.row[rows], self.targets[chosen], self.labels[chosen]
        )

    def take(self, rows: Tensor) -> Tensor:
        """Return the faces in `rows`, int64 [n], as uint8 [n, H, W, C] on the device of the targets."""
        if self._resident is not None:
            return self._resident[rows.to(self._resident.device)]
        faces = torch.from_numpy(self.gather(rows.cpu().numpy()))
        return faces.to(self.targets.device, non_blocking=True)

    def batches(self, size: int, desc: str | None = None) -> Iterator[Tensor]:
        """Yield all faces in order, `size` at a time, as `take` returns them.

        Args:
            size: faces in a batch; the last batch may have fewer.
            desc: text of the progress bar; None shows no bar.
        """
        starts = range(0, len(self), size)
        for start in track(starts, desc=desc, unit="batches") if desc else starts:
            yield self.take(torch.arange(start, min(start + size, len(self))))

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Return the faces in `rows`, int64 [n], as a new array, uint8 [n, H, W, C]."""
        faces = np.empty((len(rows), *(self.shape if self.tables else (0, 0, 0))), np.uint8)
        for i, (table, row) in enumerate(zip(self.table[rows], self.row[rows], strict=True)):
            faces[i] = self.tables[table][row]
        return faces


@dataclass(frozen=True)
class LabelledFaces:
    """The faces of some data sets in the tables that `align`, `label` and `synthesize` wrote, read as samples.

    Args:
        classes: K names; labels are indices into them.
        datasets: names of these data sets. `data/labels.parquet` may hold others too.
        align: the settings of the faces.
    """

    classes: list[str]
    datasets: list[str]
    align: Align

    def everything(self) -> Samples:
        """Return the samples of all splits in the order of `data/labels.parquet`.

        Raises:
            UserError: a table is absent, or was made with other parameters.
        """
        return self._samples(self._rows())

    def split(self, name: str) -> Samples:
        """Return the samples of a split, as `everything` does.

        Raises:
            UserError: as `everything`.
        """
        rows = self._rows()
        return self._samples(rows.filter(pc.equal(rows["split"], name)))

    def _rows(self) -> pa.Table:
        """Return the rows of `data/labels.parquet` that belong to the data sets."""
        table = read_parquet(LABELS, ["id", "dataset", "split", "label", "target"])
        if (made_with := classes_of(table.schema)) != self.classes:
            found, allowed = ",".join(made_with), ",".join(self.classes)
            raise UserError.of(LABELS, f"classes {found}", f"{allowed}: run `dvc repro`")
        own = pa.array(self.datasets, pa.string())
        return table.filter(pc.is_in(table["dataset"], value_set=own))

    def _samples(self, table: pa.Table) -> Samples:
        """Return the samples in rows of `data/labels.parquet`."""
        tables = [self._faces(ALIGNED / f"{dataset}.arrow") for dataset in self.datasets]
        ids = texts(table["id"])
        faces = places(ids, pa.concat_arrays([texts(faces.table["id"]) for faces in tables]))
        if (faces < 0).any():
            unknown = ids[int(faces.argmin())].as_py()
            raise UserError(f"{LABELS}: {unknown!r} is in no table of {ALIGNED}: run `dvc repro`")
        starts = np.cumsum([0, *map(len, tables)])
        own = np.searchsorted(starts, faces, side="right") - 1
        targets = np.array(table["target"].combine_chunks().flatten()).reshape(-1, len(self.classes))
        labels = self._indices(table["label"])
        return Samples(ids, tables, own, faces - starts[own], torch.from_numpy(targets), labels)

    def learnable(self) -> Samples:
        """Return the training samples that GANs and judges may learn from.

        Images that valid or test of any data set hold too, exactly or nearly, are left out. Of images that the
        training split holds several times, the first stays.

        Raises:
            UserError: as `everything`.
        """
        samples = self.split("train")
        table = read_parquet(LABELS, ["id", "split", "cluster"])
        every = numbers(table["cluster"])
        clusters = every[places(samples.ids, table["id"])]
        held_out = every[pc.not_equal(table["split"], "train").to_numpy()]
        first = np.zeros(len(clusters), bool)
        first[np.unique(clusters, return_index=True)[1]] = True
        return samples.at(np.flatnonzero((clusters < 0) | (first & ~np.isin(clusters, held_out))))

    def with_synthetic(self, samples: Samples, path: Path, alone: bool) -> Samples:
        """Return training samples followed by the generated faces in `path`, whose targets are their classes.

        Args:
            samples: the training split.
            path: the table of generated faces.
            alone: return the generated faces alone.

        Raises:
            UserError: the table is absent, was made with other parameters, or its GAN learned from another split.
        """
        faces = self._faces(path)
        if not len(faces):
            if alone:
                raise UserError.of(path, "no faces", "some while train.synthetic is alone")
            return samples
        made_from = (faces.table.schema.metadata or {}).get(MADE_FROM, b"").decode()
        learned = LabelledFaces(self.classes, gan_datasets(path), self.align).learnable()
        if made_from != (ours := digest(learned)):
            found = f"faces made from another training split ({made_from[:12] or 'unknown'})"
            raise UserError.of(path, found, f"from {ours[:12]}: run `dvc repro`")
        names = faces.table["label"]
        if unknown := sorted(set(names.unique().to_pylist()) - set(self.classes)):
            raise UserError.of(path, f"class {unknown[0]}", f"{', '.join(self.classes)}: run `dvc repro`")
        labels = self._indices(names)
        targets = torch.nn.functional.one_hot(labels, len(self.classes)).float()
        if alone:
            samples = samples.at(np.array([], np.int64))
        return Samples(
            pa.concat_arrays([samples.ids, texts(faces.table["id"])]),
            [*samples.tables, faces],
            np.concatenate([samples.table, np.full(len(faces), len(samples.tables))]),
            np.concatenate([samples.row, np.arange(len(faces))]),
            torch.cat([samples.targets, targets]),
            torch.cat([samples.labels, labels]),
        )

    def _faces(self, path: Path) -> Faces:
        """Open a table of faces and reject faces of another shape."""
        faces = Faces(path)
        expected = (self.align.face_size, self.align.face_size, channels(self.align.colour))
        if faces.shape != expected:
            found, allowed = ("x".join(map(str, shape)) for shape in (faces.shape, expected))
            raise UserError.of(path, f"faces of {found}", f"{allowed} (params.yaml): run `dvc repro`")
        return faces

    def _indices(self, names: Texts) -> Tensor:
        """Return the class indices of names, int64."""
        return torch.from_numpy(places(names, self.classes))


def gan_datasets(path: Path) -> list[str]:
    """Return the data sets that the GAN of a table of generated faces learned from; none if it has no faces.

    Raises:
        UserError: the table is absent.
    """
    faces = Faces(path)
    names = (faces.table.schema.metadata or {}).get(DATASETS, b"").decode()
    return names.split(",") if names and len(faces) else []


def digest(samples: Samples) -> str:
    """Return the SHA-256 of the ids, labels and faces of samples."""
    ids = pa.ListArray.from_arrays([0, len(samples)], samples.ids)
    sha256 = hashlib.sha256(pc.binary_join(ids, "\n")[0].as_buffer())
    sha256.update(samples.labels.numpy().tobytes())
    for start in range(0, len(samples), 4096):
        sha256.update(samples.gather(np.arange(start, min(start + 4096, len(samples)))).data)
    return sha256.hexdigest()


def scaled(faces: Tensor) -> Tensor:
    """Return uint8 [n, H, W, C] as float32 [n, C, H, W] in 0..1; channels-last, the order of the bytes in memory."""
    return faces.permute(0, 3, 1, 2).float().div_(255)
