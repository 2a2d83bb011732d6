"""Drawn faces: FACS action units become geometry, geometry becomes a shaded face, a face becomes a scene."""
