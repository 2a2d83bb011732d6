"""Scores of predictions: metrics, calibration, confidence intervals."""
