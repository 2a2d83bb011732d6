"""What scores a face: model file, samples, crops, device, probabilities."""
