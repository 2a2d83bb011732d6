"""One module per choice in params.yaml: augmentations, losses, networks, optimisers, GANs."""
