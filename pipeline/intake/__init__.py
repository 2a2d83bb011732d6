"""Strangers' files: trees, archives, CSV rows, images that nobody has checked."""
