"""Names that every table shares: classes, votes, splits. Imports nothing, so that `params.yaml` is read at once."""

# Canonical class names and order (FER+). Every data set maps to them by name, never by position.
CLASSES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
# What an annotator can vote for: a class, "cannot tell" or "there is no face" (FER+'s ten columns).
VOTES = (*CLASSES, "unknown", "NF")
SPLITS = ("train", "valid", "test")
