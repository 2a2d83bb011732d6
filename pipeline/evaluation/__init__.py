"""Scores, the crops a face is scored on, and pictures of the result."""
