"""The trained classifier for use elsewhere: an ONNX file, its 8-bit form, where it came from, and its model card."""
