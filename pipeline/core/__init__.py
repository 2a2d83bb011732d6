"""Errors, files, processes, programs, progress, git."""
