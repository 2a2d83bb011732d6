"""Find and classify faces in images, videos and camera streams with a trained model.

from pipeline.prediction import Predictor

predictor = Predictor.load("models/classifier.safetensors")
table = predictor.predict(["a.jpg", "folder"])
"""

from pipeline.prediction.predictor import Predictor

__all__ = ["Predictor"]
