"""The card of a shared data set: Markdown with the YAML head of the Hub's data sets.

How the faces were made comes from the metrics and parameters that `dvc.lock` ties to their labels by hash.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.export import templates
from pipeline.export.limits import NO_FEELINGS, disagreement, leak_limits, no_face_limit
from pipeline.export.lineage import Lineage, commit
from pipeline.inference.origin import DRAWN
from pipeline.sharing.columns import in_card
from pipeline.sharing.faces import SharedFaces
from pipeline.tables.paths import METRICS

TEMPLATE = "dataset_card.md.jinja"
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"))


def write(
    dataset: str, description: str, faces: SharedFaces, run: Lineage, terms: str, licence: str, target: str
) -> str:
    """Return the card.

    Args:
        dataset: name of the data set.
        description: of the faces, one sentence.
        faces: the files.
        run: the run that made the labels.
        terms: of the source.
        licence: the Hub's identifier of the licence.
        target: `owner/name` of the repository.
    """
    label, aligned = run.metrics(METRICS / "label.json"), run.metrics(METRICS / f"align/{dataset}.json")
    own = label.get("datasets", {}).get(dataset, label)
    made_at, dirty = commit()
    text = (
        templates.environment(Path(__file__).parent)
        .get_template(TEMPLATE)
        .render(
            dataset=dataset,
            description=description,
            faces=faces,
            terms=terms,
            licence=licence,
            target=target,
            version=version("fer-pipeline"),
            commit=made_at,
            dirty=dirty,
            made=bool(run.stages),
            aligned=aligned,
            align=run.params(f"align@{dataset}").get("align"),
            labels=run.params("label").get("labels"),
            dropped=own.get("dropped", {}),
            drawn=own.get("drawn", {}),
            limits=[*_limits(dataset, own, aligned)],
            data=run.data(),
        )
    )
    return templates.card(_head(dataset, faces, licence), text)


def _head(dataset: str, faces: SharedFaces, licence: str) -> dict[str, Any]:
    rows = sum(split.rows for split in faces.splits)
    sizes = [
        {"name": split.name, "num_bytes": split.size, "num_examples": split.rows} for split in faces.splits
    ]
    return {
        "license": licence,
        "pretty_name": f"{dataset}: aligned faces",
        "task_categories": ["image-classification"],
        "tags": ["facial-expression-recognition", "fer-pipeline"],
        "size_categories": [next((name for limit, name in _SIZES if rows < limit), "n>1M")],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": split.name, "path": split.file} for split in faces.splits],
            }
        ],
        "dataset_info": {
            "features": in_card(faces.columns),
            "splits": sizes,
            "download_size": sum(split.file_size for split in faces.splits),
            "dataset_size": sum(split.size for split in faces.splits),
        },
    }


def _limits(dataset: str, label: dict[str, Any], aligned: dict[str, Any]) -> Iterator[str]:
    if [dataset] == DRAWN:
        yield "The faces are drawn. A model that learns from them is of no use on photographs."
    else:
        yield "The images show people. Nothing here says whether they agreed to it."
    yield from no_face_limit(dataset, aligned)
    yield NO_FEELINGS
    if label:
        yield from leak_limits(label.get("leaks", {}))
        yield from disagreement(label)
