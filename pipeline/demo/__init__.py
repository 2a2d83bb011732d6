"""The page of `fer demo`: an image or a video in, its faces with probabilities and class-activation maps out."""
