"""Layers and libraries that several networks share."""
