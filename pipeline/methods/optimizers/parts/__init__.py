"""The optimiser that `ranger` and `ranger_gc` share."""
