"""`fer demo`: try a model on a page in the browser."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated, Literal

import typer

from pipeline.core.errors import UserError


def demo(
    model: Annotated[
        str, typer.Option(help="Begin with this model: a file, a name or an address, as for `fer predict`.")
    ] = "ferplus",
    port: Annotated[
        int,
        typer.Option(min=0, max=65535, help="Serve the page at this port of this machine; 0: any free one."),
    ] = 7860,
    device: Annotated[
        Literal["auto", "cpu", "cuda"],
        typer.Option(help="Run on this device; auto uses a GPU if there is one."),
    ] = "auto",
) -> None:
    """Serve a page to try a model in the browser: drop in an image or a video, or use the camera.

    The page shows the faces with their probabilities, as `fer predict` does, and class-activation maps. You can choose
    among the models that come with the project and those in models/. Only this machine can open the page. Your files
    are deleted when the command ends. The package gradio must be installed. Press Ctrl-C to stop.
    """
    if find_spec("gradio") is None:
        raise UserError("gradio is not installed: pip install gradio")

    from pipeline.demo.server import serve

    try:
        serve(model, port, device)
    except KeyboardInterrupt:
        return
