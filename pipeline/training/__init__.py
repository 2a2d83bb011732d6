"""The training engine: data in memory, the plan of an epoch, the step, checkpoints.

It combines a network, an optimiser, a loss and an augmentation without knowing any of them by name.
"""
