"""Find and align faces: weights, detectors, alignment."""
