"""Bring a person's pictures into the project, for `fer import`."""
