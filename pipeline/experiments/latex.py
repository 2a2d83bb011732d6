"""Write a comparison as LaTeX. pdflatex compiles the file by itself, and a paper can `\\input` it."""

from __future__ import annotations

import re
import textwrap
import unicodedata

from pipeline.experiments import layout
from pipeline.experiments.comparison import Comparison
from pipeline.experiments.layout import TextTable

HEAD_WIDTH = 17  # characters of a score with its standard deviation and its `*`

# The file has to know whether it is compiled by itself or `\input` into a paper. LaTeX's macro `\@nodocument` tells:
# after `\begin{document}` it equals `\relax`, before it does not.
HEAD = r"""% Compile this file by itself with pdflatex, or write \usepackage{booktabs} into your preamble and \input it.
\expandafter\ifx\csname @nodocument\endcsname\relax
\def\ferend{}
\else
\def\ferend{\end{document}}
\documentclass[a4paper,landscape]{article}
\usepackage[margin=15mm]{geometry}
\usepackage{booktabs}
\begin{document}
\fi
"""

_GREEK = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi psi"
_CAPITALS = "omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"
_IN_MATHS = dict(zip("αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΥΦΨΩ", f"{_GREEK} {_CAPITALS}".split(), strict=True)) | {
    "±": "pm",
    "×": "times",
    "→": "rightarrow",
    "≤": "leq",
    "≥": "geq",
    "≈": "approx",
}
_IN_TEXT = {character: f"\\{character}" for character in "#$%&_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "`": r"\textquoteleft{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedblright{}",
    "−": "$-$",
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
    "…": r"\ldots{}",
    "‘": r"\textquoteleft{}",
    "’": r"\textquoteright{}",
    "“": r"\textquotedblleft{}",
    "”": r"\textquotedblright{}",
}
# Accented letters, and special letters such as ß and ø, that LaTeX has in every font.
_LETTERS = (
    "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿ"
    "ĀāĂăĆćČčĎďĒēĔĕĖėĚěĞğĪīĬĭİıŁłŃńŇňŌōŐőŒœŔŕŘřŚśŞşŠšŤťŪūŮůŰűŸŹźŻżŽž"
)


def document(title: str, comparison: Comparison) -> str:
    """Return a LaTeX document: the table of scores, the text that explains it, and the table of differences."""
    scores = list(layout.score_tables(comparison))
    differences = layout.difference_tables(comparison)
    below = [layout.explanation(comparison), *layout.notes(comparison)]
    # A page has room for two tables of scores with the text, and for more without it.
    parts = [_float(title, scores, below)]
    if len(scores) > 2:
        parts = [_float(title, scores, []), _float("", [], below)]
    if differences:
        parts.append(_float(f"{title}: differences from {comparison.baseline}", differences, []))
    return "\n".join([HEAD, *parts, r"\ferend", ""])


def escaped(text: str) -> str:
    """Return text for LaTeX.

    A character that LaTeX's fonts may lack becomes its letter without the accent, or else its Unicode number.
    """
    joined = "".join(map(_escaped, unicodedata.normalize("NFC", text)))
    return joined.replace("--", "-{}-")  # two hyphens would be a dash


def _float(title: str, tables: list[TextTable], below: list[str]) -> str:
    lines = [r"\begin{table}[htbp]", r"\centering\small"]
    if title:
        lines.append(rf"\caption{{{escaped(title)}}}")
    for table in tables:
        lines += [_tabular(table), r"\par\medskip"]
    lines += [rf"{{\footnotesize\raggedright {escaped(paragraph)}\par}}" for paragraph in below]
    return "\n".join([*lines, r"\end{table}", ""])


def _tabular(table: TextTable) -> str:
    heads = [_head(re.sub("[._]", " ", head)) for head in table.heads]
    rows = [[_cell(cell) for cell in row] for row in table.rows]
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{'l' * len(heads)}}}",
            r"\toprule",
            rf"{' & '.join(heads)} \\",
            r"\midrule",
            *(rf"{' & '.join(row)} \\" for row in rows),
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def _head(text: str) -> str:
    """Return the head of a column, in several lines if it is longer than a score."""
    lines = r" \\ ".join(escaped(line) for line in textwrap.wrap(text, HEAD_WIDTH))
    return rf"\begin{{tabular}}[b]{{@{{}}l@{{}}}}{lines}\end{{tabular}}" if r"\\" in lines else lines


def _cell(text: str) -> str:
    """Return a cell. Signed numbers are set in maths mode (`$...$`), so that their minus is not printed as a hyphen."""
    return "--" if text == "-" else re.sub(r"(?<![\w.])[-+]\d\.\d+", r"$\g<0>$", escaped(text))


def _escaped(character: str) -> str:
    if character in _IN_TEXT:
        return _IN_TEXT[character]
    if character in _IN_MATHS:
        return rf"$\{_IN_MATHS[character]}$"
    if character.isascii() or character in _LETTERS:
        return character
    base = unicodedata.normalize("NFD", character)[0]
    return base if base.isascii() else f"[U+{ord(character):04X}]"
