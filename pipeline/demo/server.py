"""Serve the page to this machine only."""

from __future__ import annotations

import os
import socket
from importlib.resources import files

from pipeline.core.errors import UserError
from pipeline.core.progress import say
from pipeline.core.scratch import temporary_folder

HOST = "127.0.0.1"
SYSTEM = ["system-ui", "sans-serif"]  # fonts; Gradio's own would be files to load
PATIENCE = 1  # seconds that open pages get at the end


def serve(model: str, port: int, device: str) -> None:
    """Serve the page until Ctrl-C. What was uploaded lies in a temporary folder, which is removed at the end.

    Args:
        model: the model that is chosen at first.
        port: the server's port; 0: a free one.
        device: see `Predictor.load`.

    Raises:
        UserError: the model cannot be loaded, or the port is in use.
    """
    with temporary_folder() as folder, _listening(port) as listener:
        os.environ["GRADIO_TEMP_DIR"] = str(folder)  # before Gradio is imported
        import gradio
        import uvicorn
        from fastapi import FastAPI

        from pipeline.demo.page import page

        # Not `launch`, which asks the network whether the page can be reached.
        app = gradio.mount_gradio_app(
            FastAPI(openapi_url=None),
            page(model, device),
            path="/",
            footer_links=[],
            run_history=False,
            ssr_mode=False,
            mcp_server=False,
            theme=gradio.themes.Default(font=SYSTEM, font_mono=["monospace"]),
            css=(files("pipeline.demo") / "style.css").read_text("utf-8"),
        )
        settings = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=PATIENCE)
        say(f"demo: http://{HOST}:{listener.getsockname()[1]} - press Ctrl-C to stop")
        uvicorn.Server(settings).run([listener])


def _listening(port: int) -> socket.socket:
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        raise UserError.of(
            "--port", f"{port} ({error.strerror})", "a port that is free, or 0 for any"
        ) from None
