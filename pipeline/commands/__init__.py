"""The user's tools: commands of `fer` that are no stage of the chain."""
