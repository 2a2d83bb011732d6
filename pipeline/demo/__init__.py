"""The page of `fer demo`: a picture or a video in, its faces with probabilities and class-activation maps out."""
