"""The one vocabulary of all data sets: how people spell classes and splits.

A spelling counts in any case, in any Unicode form, with spaces, hyphens or underscores between words, and with a
number in front (`0_Angry`). `ingest.names` in `params.yaml` adds the classes of a person's other labels.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from pipeline.core.errors import UserError
from pipeline.intake.guards import Rejection
from pipeline.tables.vocabulary import CLASSES, SPLITS, SYNONYMS, VOTES, spelled

_NO_CLASS = {
    "unknown": "uncertain not_sure unsure",
    "NF": "no_face non_face not_a_face noface nonface",
}
_SPLIT_SPELLINGS = {
    "train": "train training trn tr",
    "valid": "valid val validation validate dev devel development eval evaluation publictest",
    "test": "test tests testing tst privatetest",
}
_NUMBER_IN_FRONT = re.compile(r"\d+[_ .)]+(?=\D)")
_SPLIT_NOISE = re.compile(
    r"(?<=..)(sets?|class|classes|labels?|annotations?|data|dataset|split|images|imgs|pictures|faces|folder)$"
)


CLASS_OF = (
    {spelled(name): name for name in VOTES}
    | SYNONYMS
    | {word: name for name, words in _NO_CLASS.items() for word in words.split()}
)
_SPLIT_OF = {
    spelling: split for split, spellings in _SPLIT_SPELLINGS.items() for spelling in spellings.split()
}


def split_name(text: str) -> str | None:
    """Return the split that a person calls `Training`, `val_set` or `PublicTest`; None if it is none."""
    letters = re.sub(r"[^a-z]", "", unicodedata.normalize("NFKC", text).casefold())
    return _SPLIT_OF.get(letters) or _SPLIT_OF.get(_SPLIT_NOISE.sub("", letters))


def split_in(path: str) -> str | None:
    """Return the split that a path names, in a whole part or in one of its words; None if it names none.

    The last part that names exactly one split counts: `data/fer-train-00000-of-00004.parquet`, `val_set/0000.parquet`.
    """
    for part in reversed(path.split("/")):
        words = (part, *re.split(r"[^a-z]+", part.casefold()))
        splits = {split for word in words if (split := split_name(word))}
        if len(splits) == 1:
            return splits.pop()
    return None


def split_of(text: str) -> str | None:
    """Return the split that a cell names; None if it is empty.

    Raises:
        Rejection: `bad_split`.
    """
    split = split_name(text)
    if split is None and text:
        raise Rejection.of("bad_split", repr(text[:40]), SPLITS)
    return split


def class_of_code(code: str, codes: Mapping[str, str]) -> str:
    """Return the class that a published code stands for.

    Args:
        code: as the data set has it.
        codes: the class of each code.

    Raises:
        Rejection: `unknown_label`.
    """
    if code not in codes:
        allowed = ", ".join(f"{known} {name}" for known, name in codes.items())
        raise Rejection.of("unknown_label", repr(code[:40]), allowed)
    return codes[code]


class Names:
    """Class names as a data set spells them.

    Args:
        own: a person's label to the name of its class, `ingest.names`.
        declared: names of classes beside the ten that need no declaration, `classes`.

    Attributes:
        seen: number of times that each label occurred, by label and class. "" is the class of an unknown label.
    """

    def __init__(self, own: Mapping[str, str] | None = None, declared: Iterable[str] = ()) -> None:
        own = own or {}
        self._classes = dict.fromkeys([*CLASSES, *declared, *own.values()])
        new = [name for name in self._classes if name not in CLASS_OF.values()]
        self._class_of = CLASS_OF | {spelled(name): name for name in new}
        self._class_of |= {spelled(label): name for label, name in own.items()}
        self.seen: Counter[tuple[str, str]] = Counter()

    def get(self, text: str) -> str | None:
        """Return the class of a label; None if nothing knows the label."""
        label = spelled(text)
        return self._class_of.get(label) or self._class_of.get(_NUMBER_IN_FRONT.sub("", label, count=1))

    def label(self, text: str) -> str:
        """Return the class of a label, and count the label.

        Raises:
            Rejection: `no_label` for an empty cell; `unknown_label`, with the known name that is close to it.
        """
        name = self.get(text)
        if name is None and not text.strip():
            raise Rejection("no_label", "the row has no label")
        self.seen[text.strip(), name or ""] += 1
        if name is None:
            raise Rejection("unknown_label", f"found {text[:40]!r}, {self._hint(text)}")
        return name

    def check(self, source: str) -> None:
        """Check that a data set has a label with a known class, if it has labels.

        Args:
            source: the data set's path.

        Raises:
            UnknownNames: nothing knows any of the labels that `label` has seen.
        """
        labels = sorted({label for label, _ in self.seen})
        if labels and not any(name for _, name in self.seen):
            raise UnknownNames(source, labels)

    def _hint(self, text: str) -> str:
        close = difflib.get_close_matches(spelled(text), self._class_of, 1, cutoff=0.7)
        if close:
            return f"did you mean {self._class_of[close[0]]}? ingest.names can say so"
        return f"allowed: {', '.join(self._classes)}, or a label that ingest.names maps to a class"


class UnknownNames(UserError):
    """Nothing knows any of the names of classes in a data set.

    Args:
        source: the data set's path.
        names: the names.
    """

    def __init__(self, source: str, names: Sequence[str]) -> None:
        super().__init__(
            f"{source}: found {', '.join(map(repr, names[:12]))} where classes are named, expected: their classes in "
            f"ingest.names, such as {{{names[0]}: happiness}}; `fer import` asks for them"
        )
        self.names = tuple(names)
