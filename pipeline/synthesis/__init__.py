"""The training that all GANs share."""
