"""From pictures to faces: weights, detectors, alignment."""
