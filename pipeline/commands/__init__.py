"""The user's tools beside the stages: one module per sub-command of `fer`."""
