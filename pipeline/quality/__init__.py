"""How good generated faces are: their distance to real faces, memorised faces, and filters."""
