"""Losses and weights that several losses share."""
