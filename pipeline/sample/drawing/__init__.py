"""Render faces: from FACS action units to geometry, from geometry to a shaded face, from a face to a scene."""
