"""Names that every table shares: classes, votes, splits. Imports nothing, so that `params.yaml` is read at once."""

# Canonical class names and order (FER+). Every data set maps to them by name, never by position.
CLASSES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
# What an annotator can vote for: a class, "cannot tell" or "there is no face" (FER+'s ten columns).
VOTES = (*CLASSES, "unknown", "NF")
SPLITS = ("train", "valid", "test")
# The splits in which `evaluate` scores a model:
# train, valid  of the data sets that the classifier learned from; valid chose the best epoch
# gan_train     train of the data sets that only the GAN learned from
# unlearned     the other training and validation faces: those of data sets that were not learned from
# test          of all data sets
SCORED = ("train", "gan_train", "valid", "unlearned", "test")
