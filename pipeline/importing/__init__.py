"""Bring a person's images into the project, for `fer import`."""
