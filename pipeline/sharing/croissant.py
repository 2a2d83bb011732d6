"""Metadata of a data set in the Croissant format (MLCommons, version 1.0), which search engines for data sets read."""

from __future__ import annotations

import json
from typing import Any

from pipeline.sharing.faces import SharedFaces, SharedSplit

_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_TYPES = {"int32": "sc:Integer", "string": "sc:Text"}


def croissant(name: str, description: str, licence: str, terms: str, url: str, faces: SharedFaces) -> str:
    """Return the metadata as JSON-LD: the files with their hashes, and a record set for each split.

    Args:
        name: of the data set.
        description: one sentence.
        licence: the Hub's identifier of the licence.
        terms: of the source, in words.
        url: of the data set's page; "" if it has none.
        faces: its files and columns.
    """
    content = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": name,
        "description": description,
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "license": terms if licence == "other" else licence,
        "keywords": ["facial expression recognition", "image classification"],
        **({"url": url} if url else {}),
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": split.file,
                "name": split.file.rpartition("/")[2],
                "contentUrl": split.file,
                "contentSize": f"{split.file_size} B",
                "encodingFormat": "application/x-parquet",
                "sha256": split.sha256,
            }
            for split in faces.splits
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": split.name,
                "name": split.name,
                "description": f"{split.rows} faces of the split {split.name}",
                "field": [_field(split, column, kind) for column, kind in faces.columns.items()],
            }
            for split in faces.splits
        ],
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _field(split: SharedSplit, column: str, feature: Any) -> dict[str, Any]:
    about: dict[str, Any] = {"@type": "cr:Field", "@id": f"{split.name}/{column}", "name": column}
    match feature.get("_type"):
        case "Image":
            return about | {"dataType": "sc:ImageObject", "source": _source(split, column, "bytes")}
        case "ClassLabel":
            numbers = ", ".join(f"{number} {name}" for number, name in enumerate(feature["names"]))
            about |= {"description": f"the expression: {numbers}", "dataType": "sc:Integer"}
        case "Value":
            about |= {"dataType": _TYPES[feature["dtype"]]}
        case _:
            about |= {"description": "number of annotators for each answer"}
            return about | {"subField": [_answer(split, column, *inner) for inner in feature.items()]}
    return about | {"source": _source(split, column)}


def _answer(split: SharedSplit, column: str, name: str, feature: Any) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{split.name}/{column}/{name}",
        "name": name,
        "dataType": _TYPES[feature["dtype"]],
        "source": _source(split, column, name),
    }


def _source(split: SharedSplit, column: str, inner: str = "") -> dict[str, Any]:
    transform = {"transform": {"jsonPath": inner}} if inner else {}
    return {"fileObject": {"@id": split.file}, "extract": {"column": column}, **transform}
