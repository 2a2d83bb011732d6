"""Score faces: model file, samples, crops, device, probabilities."""
