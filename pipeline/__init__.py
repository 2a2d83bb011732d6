"""Facial expression recognition as a chain of DVC stages, from raw data sets to tracked metrics."""

import os

# Without these variables libraries report their use to their makers, look for a newer version of themselves, or write
# in the home folder. Some read them when they are imported, so they are set before any other import. Child processes
# inherit them.
SILENT = {
    "DVC_NO_ANALYTICS": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_XET": "1",  # it would keep copies and logs in the home folder
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
os.environ |= SILENT
