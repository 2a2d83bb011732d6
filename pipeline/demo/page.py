"""The page: what can be dropped in, and which answer each event asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import gradio as gr

from pipeline.core.errors import UserError
from pipeline.core.scratch import temporary_folder
from pipeline.demo import answer
from pipeline.download.models import located
from pipeline.inference import published
from pipeline.prediction.predictor import Predictor
from pipeline.tables.paths import MODELS

STEPS = [1, 2, 5, 10, 25]  # between the frames that are read of a video
MOST_AGE, LOOKS = 3600, 600  # seconds that an upload is kept, and between two looks for older ones


def models(chosen: str) -> list[str]:
    """Return the models on offer: the chosen one, those that come with the project, and those in `models/`."""
    files = sorted(map(str, MODELS.glob("*.safetensors")))
    return list(dict.fromkeys([chosen, *published.names(), *files]))


def page(chosen: str, device: str) -> gr.Blocks:
    """Return the page.

    Args:
        chosen: the model that is chosen at first.
        device: see `Predictor.load`.

    Raises:
        UserError: the chosen model cannot be loaded.
    """

    @lru_cache(maxsize=1)
    def loaded(model: str, changed: float) -> Predictor:
        return Predictor.load(model, device, workers=1)

    def predictor(model: str) -> Predictor:
        return loaded(model, located(model).stat().st_mtime)  # a training may write it anew

    def describe(model: str) -> str:
        return _or_error(lambda: answer.about(predictor(model)))

    def image(model: str, path: str | None) -> str:
        return _or_error(lambda: answer.image(predictor(model), path)) if path else ""

    def film(model: str, path: str | None, every: int) -> Iterator[tuple[Any, ...]]:
        hidden = gr.update(value=None, visible=False)
        if not path:
            yield answer.error("Choose a video first."), hidden, hidden
            return
        try:
            with temporary_folder() as folder:
                for text, *files in answer.film(predictor(model), path, every, folder):
                    yield text, *(gr.update(value=file, visible=file is not None) for file in files)
        except (UserError, OSError) as refused:
            yield answer.error(refused), hidden, hidden

    with gr.Blocks(title="fer demo", analytics_enabled=False, delete_cache=(LOOKS, MOST_AGE)) as blocks:
        gr.HTML("<h1>Facial expressions</h1>")
        model = gr.Dropdown(models(chosen), value=chosen, label="Model")
        description = gr.HTML(answer.about(predictor(chosen)))
        with gr.Tabs():
            with gr.Tab("Image"):
                upload = gr.Image(label="Image: a file, the clipboard or the camera", buttons=[], height=320)
                upload.preprocess = _path  # Gradio would decode the file, and lose what it holds
                faces = gr.HTML(elem_id="faces")
            with gr.Tab("Video"):
                # Not `gr.Video`, which calls it an error that a browser cannot play what OpenCV can read.
                video = gr.File(label="Video", file_types=["video"], buttons=[], height=160)
                every = gr.Dropdown(STEPS, value=1, label="Read every N-th frame")
                with gr.Row():
                    start = gr.Button("Predict")
                    stop = gr.Button("Stop")
                counts = gr.HTML(elem_id="counts")
                marked = gr.Video(label="Marked faces", visible=False)
                rows = gr.File(label="Predictions, one row per face", visible=False)
        one_by_one: dict[str, Any] = {"api_visibility": "private", "concurrency_id": "predict"}
        model.change(describe, model, description, **one_by_one)
        gr.on([model.change, upload.change], image, [model, upload], faces, **one_by_one)
        running = start.click(film, [model, video, every], [counts, marked, rows], **one_by_one)
        stop.click(None, cancels=[running])
    return blocks


def _path(upload: Any) -> str | None:
    """Return the path of the uploaded file; None if there is none."""
    return upload.path if upload else None


def _or_error(answered: Callable[[], str]) -> str:
    try:
        return answered()
    except (UserError, OSError) as refused:
        return answer.error(refused)
