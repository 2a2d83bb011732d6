"""Functions that several augmentations share."""
