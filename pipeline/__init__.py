"""Facial expression recognition as a chain of DVC stages, from raw data sets to tracked metrics."""
