"""Training faces whose label a cross-validated classifier doubts.

The training faces are divided into folds. A classifier learns from all folds but one and scores the faces of that one,
so no face is scored by a classifier that has seen it. The faces are then ranked by the probability of their own label,
which Northcutt, Jiang & Chuang 2021 (https://arxiv.org/abs/1911.00068) call self-confidence.
"""
