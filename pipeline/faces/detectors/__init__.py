"""Face detectors, one module each: `align.detector` is the module's name.

A module offers the class `Detector` (see `pipeline.faces.detection.FaceDetector`) and `PACKAGED`, where the
package index has its weights.
"""
