"""A trained model at work: faces found, cut out and classified in pictures, videos and what a camera sees.

from pipeline.prediction import Predictor

predictor = Predictor.load("models/classifier.safetensors")
table = predictor.predict(["a.jpg", "folder"])
"""

from pipeline.prediction.predictor import Predictor

__all__ = ["Predictor"]
