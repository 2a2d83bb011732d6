"""The commands of `fer` that are no stages: one module each, registered in `pipeline.cli`."""
