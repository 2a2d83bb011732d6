"""Names that every table shares: classes, votes, splits. Imports no library, so that `params.yaml` is read at once."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

# Class names that need no declaration, in FER+'s order. Every data set maps to them by name, never by position.
CLASSES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
# Other words for them, in lower case, with `_` between words.
_OTHERS = {
    "neutral": "neutrality neutral_face",
    "happiness": "happy happily joy joyful happyness",
    "surprise": "surprised surprising suprise suprised surprize astonished",
    "sadness": "sad unhappy sorrow",
    "anger": "angry angered",
    "disgust": "disgusted disgusting",
    "fear": "fearful afraid scared",
    "contempt": "contemptuous",
}
SYNONYMS = {word: name for name, words in _OTHERS.items() for word in words.split()}
# Votes for no class: "cannot tell" and "there is no face".
NO_CLASS = ("unknown", "NF")
# What FER+'s annotators could vote for. A data set with other classes has its own vocabulary, which begins with this.
VOTES = (*CLASSES, *NO_CLASS)
# Words that are no class names, in lower case: votes for no class, what metrics and figures hold beside the classes,
# and what spreadsheets and pandas read as a missing value.
RESERVED = frozenset(
    {"unknown", "nf"}
    | {"all", "classifier", "datasets", "features", "gan", "made_from"}
    | {"na", "nan", "none", "null"}
)
# In lists of rejected records, the reason of the rows that name files which no record is about.
NOT_READ = "not_read"
SPLITS = ("train", "valid", "test")
DRAWN = ("valid", "test")  # those that `label` can draw from the training images
# The splits in which `evaluate` scores a model:
# train, valid  of the data sets that the classifier learned from; valid chose the best epoch
# gan_train     train of the data sets that only the GAN learned from
# unlearned     the other training and validation faces: those of data sets that were not learned from
# test          of all data sets
SCORED = ("train", "gan_train", "valid", "unlearned", "test")


def splits_in_words(splits: Mapping[str, int]) -> str:
    """Return numbers of records by split in words: `train 63, test 21, 5 without a split`; `none` is of those."""
    words = (
        f"{count:,} without a split" if split == "none" else f"{split} {count:,}"
        for split, count in splits.items()
    )
    return ", ".join(words)


def spelled(text: str) -> str:
    """Return a label without what people spell differently: case, Unicode form, white space, hyphens."""
    text = re.sub(r"[\s_-]+", "_", unicodedata.normalize("NFKC", text).strip().casefold())
    return re.sub(r"^(\d+)\.0+$", r"\1", text)  # a code as pandas writes it
