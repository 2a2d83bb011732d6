"""What several GANs share."""
