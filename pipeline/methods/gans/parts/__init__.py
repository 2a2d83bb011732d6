"""Networks and losses that several GANs share."""
