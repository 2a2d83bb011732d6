"""Export the classifier: ONNX file, 8-bit ONNX file and model card."""
