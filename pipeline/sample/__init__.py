"""The embedded sample: rendered faces and simulated annotators."""
