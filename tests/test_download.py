"""Models from elsewhere: `--model hf://owner/name` and `--model https://...`, downloaded and checked by their hash."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import cv2
import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.core.errors import UserError
from pipeline.download.models import located
from pipeline.inference import model_file
from pipeline.stages.train import trained_model
from tests import hub_server, toy
from tests import odd_images as odd

ROOT = Path(__file__).parents[1]
NAME, CONTENT = "model.safetensors", bytes(range(256)) * 999
HASH, ZEROS = hashlib.sha256(CONTENT).hexdigest(), "0" * 64
LOCATE = "import sys; from pipeline.download.models import located; print(located(sys.argv[1]))"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[hub_server.Hub]:
    """A Hub with the model `owner/faces`. Programs that start in the current, empty folder use it."""
    monkeypatch.chdir(tmp_path)
    with hub_server.running() as server:
        server.add("owner/faces", {NAME: CONTENT, "other.bin": b"other"})
        for name, value in {"HF_ENDPOINT": server.address, "HOME": str(tmp_path / "home")}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        yield server


def start(*words: str) -> subprocess.Popen[str]:
    """Start Python: the Hub's library reads its settings once, when it is imported."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *words], **pipes)


def from_hub(address: str) -> str:
    """Return the path of a model, or the error of the one line at the end."""
    out, errors = start("-c", LOCATE, address).communicate()
    return out.strip() or errors.strip().splitlines()[-1].removeprefix("pipeline.core.errors.UserError: ")


def kept() -> list[Path]:
    """Return the downloaded files, and what may be left of one."""
    return [path for path in Path().rglob("*") if path.is_file() and path.suffix not in (".lock", ".TAG")]


def models() -> list[bytes]:
    return [path.read_bytes() for path in kept() if path.suffix == ".safetensors"]


def test_a_model_of_the_hub_is_downloaded_once_and_found_without_a_network(hub: hub_server.Hub) -> None:
    first = from_hub("hf://owner/faces")
    assert Path(first).read_bytes() == CONTENT
    assert "/models/downloaded/" in first
    [old] = hub.repositories["owner/faces"].commits
    new = hub.add("owner/faces", {NAME: CONTENT[::-1]})
    assert Path(from_hub("hf://owner/faces")).read_bytes() == CONTENT[::-1]
    assert from_hub(f"hf://owner/faces@{old}") == first
    assert hub.requests.count(f"GET /owner/faces/resolve/main/{NAME}") == 2, "once for each commit"
    hub.shutdown()
    hub.server_close()
    assert from_hub("hf://owner/faces") == first.replace(old, new)
    assert from_hub("hf://owner/elsewhere").startswith(
        "hf://owner/elsewhere: cannot be downloaded, and is not in models/downloaded: "
    )


def test_a_prediction_says_which_model_of_the_hub_it_used(
    hub: hub_server.Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("snapshots").mkdir()  # as the Hub's library calls a folder
    monkeypatch.chdir("snapshots")
    shutil.copy(ROOT / "params.yaml", ".")
    p = toy.PARAMS.model_copy(update={"model": "light"})
    p = p.model_copy(update={"align": p.align.model_copy(update={"mode": "none"})})
    model_file.save(Path("m.safetensors"), trained_model(p, toy.network(p)))
    commit = hub.add("owner/light", {NAME: Path("m.safetensors").read_bytes()})
    cv2.imwrite("a.png", odd.pixels(1, 99, 99))
    words = ["predict", "a.png", "--output", "-", "--workers", "1", "--model"]
    rows, said = start("-m", "pipeline", *words, "hf://owner/light").communicate()
    sha256 = hashlib.sha256(Path("m.safetensors").read_bytes()).hexdigest()
    assert f"model: hf://owner/light is the file {sha256[:12]}... (SHA-256) of commit {commit}" in said
    assert "predict: the model hf://owner/light learned from" in said
    assert rows == CliRunner().invoke(app, [*words, "m.safetensors"], catch_exceptions=False).stdout != ""
    assert not Path("../home").exists()


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("hf://owner/none", "found no such model, or none that you may read, allowed: a model; `hf auth login`"),
        ("hf://owner/faces@v9", "hf://owner/faces@v9: found no revision v9, allowed: a branch, a tag or a commit"),
        ("hf://owner/faces/a.safetensors", "found no file a.safetensors, allowed: a repository with this file"),
        ("hf://owner/faces/other.bin", "other.bin, whose SHA-256 the Hub does not say, allowed: hf://owner/faces/oth"),
        (f"hf://owner/faces#sha256={ZEROS}", f"found a file with SHA-256 {HASH}, allowed: {ZEROS}; it was deleted"),
        ("hf://owner", "--model: found hf://owner, allowed: hf://OWNER/NAME, "),
        ("hf://datasets/owner/faces", "--model: found hf://datasets/owner/faces, which is a dataset, allowed: hf://OW"),
    ],
)  # fmt: skip
def test_what_is_no_model_of_the_hub_is_refused_in_one_line(
    hub: hub_server.Hub, address: str, line: str
) -> None:
    assert line in from_hub(address)
    assert models() == []


def test_a_file_of_the_hub_that_has_no_hash_there_is_taken_by_a_given_one(hub: hub_server.Hub) -> None:
    sha256 = hashlib.sha256(b"other").hexdigest()
    assert Path(from_hub(f"hf://owner/faces/other.bin#sha256={sha256}")).read_bytes() == b"other"


def test_a_damaged_download_never_becomes_a_model_and_the_next_one_is_whole(hub: hub_server.Hub) -> None:
    hub.fault = "damage"
    assert f"allowed: {HASH}; it was deleted" in from_hub("hf://owner/faces")
    assert models() == []
    hub.fault = ""
    path = Path(from_hub("hf://owner/faces"))
    path.resolve().write_bytes(CONTENT[:-1])  # a failing disk
    assert f"allowed: {HASH}; it was deleted" in from_hub("hf://owner/faces")
    assert Path(from_hub("hf://owner/faces")).read_bytes() == CONTENT


@pytest.mark.parametrize("kind", ["hub", "web"])
def test_ctrl_c_leaves_nothing_of_a_file(hub: hub_server.Hub, kind: str) -> None:
    hub.fault = "stall"
    web = f"{hub.address}/owner/faces/resolve/main/{NAME}#sha256={HASH}"
    process = start("-c", LOCATE, "hf://owner/faces" if kind == "hub" else web)
    assert hub.stalled.wait(60)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert (out, process.returncode) == ("", -signal.SIGINT)
    assert [path for path in kept() if path.name != "main"] == []  # what the revision main means


def test_a_file_on_the_web_is_checked_and_downloaded_once(
    hub: hub_server.Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"{hub.address}/owner/faces/resolve/main/{NAME}"
    path = located(f"{address}#sha256={HASH.upper()}")
    assert path.read_bytes() == CONTENT
    assert f"model: downloading {address}" in capsys.readouterr().err
    assert located(f"{address}?again=1#sha256={HASH}") == path
    assert len(hub.requests) == 1
    path.write_bytes(CONTENT[:-1])  # a failing disk
    assert located(f"{address}?again=2#sha256={HASH}").read_bytes() == CONTENT


def test_a_file_on_the_web_that_is_another_or_not_whole_is_not_kept(hub: hub_server.Hub) -> None:
    address = f"{hub.address}/owner/faces/resolve/main/{NAME}"
    with pytest.raises(UserError, match=f"a file with SHA-256 {HASH}, allowed: {ZEROS}; nothing was kept"):
        located(f"{address}#sha256={ZEROS}")
    hub.fault = "cut"
    with pytest.raises(UserError, match=r"cannot be downloaded: the connection ended after 127,872 bytes"):
        located(f"{address}#sha256={HASH}")
    with pytest.raises(UserError, match=r"/none: cannot be downloaded: 404 Not Found"):
        located(f"{hub.address}/none#sha256={HASH}")
    hub.shutdown()
    hub.server_close()
    with pytest.raises(UserError, match=r"cannot be downloaded: .*Connection refused"):
        located(f"{address}#sha256={ZEROS}")
    assert kept() == []


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("https://example.org/m.safetensors", "--model: found https://example.org/m.safetensors without a hash, allow"),
        ("https://example.org/m.safetensors#sha256=1", "#sha256=1, allowed: https://example.org/m.safetensors#sha256="),
        (f"http://example.org/m#sha256={ZEROS}", "found http://, allowed: https://, or http:// on this machine only"),
        (f"https://[example.org/m#sha256={ZEROS}", "https://[example.org/m: is no web address: Invalid IPv6 URL"),
        ("ftp://example.org/m", "--model: found ftp://example.org/m, allowed: a file, a name, https://..., or hf://"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["predict a.png", "export"])
def test_an_address_that_cannot_be_trusted_is_refused_by_every_command(
    project: Path, command: str, address: str, line: str
) -> None:
    cv2.imwrite("a.png", odd.pixels(1, 99, 99))
    Path("models").mkdir()
    with pytest.raises(UserError) as error:
        CliRunner().invoke(app, [*command.split(), "--model", address], catch_exceptions=False)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_a_redirection_to_plain_http_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", "http://192.0.2.1/m")
            self.end_headers()

    monkeypatch.chdir(tmp_path)
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.handle_request).start()
        with pytest.raises(UserError, match=r"http://192\.0\.2\.1/m: found http://, allowed: https://"):
            located(f"http://127.0.0.1:{server.server_port}/m#sha256={ZEROS}")


def test_the_hub_itself_is_not_asked_over_plain_http(
    hub: hub_server.Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://192.0.2.1")
    assert "found http://, allowed: https://" in from_hub("hf://owner/faces")


def test_a_name_that_is_no_file_is_refused(project: Path) -> None:
    with pytest.raises(
        UserError, match=r"nobody: found no file, expected: a model; .* --model ferplus comes"
    ):
        located("nobody")
    os.mkdir("ferplus")  # raw data, for example
    assert located("ferplus").is_file()
    os.mkdir("ferplus.safetensors")
    with pytest.raises(UserError, match="found no file"):
        located("ferplus.safetensors")
