"""The training engine: data in memory, the plan of an epoch, the step, checkpoints.

It puts together what an augmentation, a loss, a network and an optimiser offer, and knows none of them by name.
"""
