"""Strangers' files: trees, archives, CSV rows, pictures that nobody has checked."""
