"""Errors, files, processes, progress, git."""
