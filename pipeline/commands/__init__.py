"""The user's tools: one module per command of `fer` that is not a stage."""
