"""Nothing calls out or writes in the home folder. `benchmarks/silent.py` runs all commands in this way."""

from __future__ import annotations

import subprocess
from pathlib import Path

import cv2
import pytest

from benchmarks.silent import outside, traced, written
from pipeline.inference import model_file
from pipeline.stages.train import trained_model
from tests import odd_images as odd
from tests import toy

LOCAL = """\
12 connect(3, {sa_family=AF_UNIX, sun_path="/var/run/nscd/socket"}, 110) = -1 ENOENT (No such file or directory)
12 connect(3, {sa_family=AF_INET, sin_port=htons(29500), sin_addr=inet_addr("127.0.0.1")}, 16) = 0
13 connect(13, {sa_family=AF_INET6, sin6_port=htons(443), inet_pton(AF_INET6, "::ffff:127.0.0.1", &sin6_addr)}, 28) = 0
13 sendto(3, ""..., 20, 0, {sa_family=AF_NETLINK, nl_pid=0, nl_groups=00000000}, 12) = 20
"""


RESOLVER = "/run/systemd/resolve/io.systemd.Resolve"


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ('sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("127.0.0.53")', "127.0.0.53:53"),
        ('sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("192.0.2.1")', "192.0.2.1:443"),
        (
            'sa_family=AF_INET6, sin6_port=htons(80), inet_pton(AF_INET6, "2001:db8::1", ...)',
            "2001:db8::1:80",
        ),
        (f'sa_family=AF_UNIX, sun_path="{RESOLVER}"', RESOLVER),
    ],
)
def test_a_look_up_and_another_machine_are_outside(address: str, found: str) -> None:
    assert outside(LOCAL) == []
    for call in (
        f"14 connect(3, {{{address}}}, 28) = 0",
        f'14 sendto(3, ""..., 9, 0, {{{address}}}, 28) = 9',
    ):
        assert outside(f"{LOCAL}{call}\n{LOCAL}") == [found]


def test_a_prediction_calls_nobody_and_writes_nothing_at_home(
    project: Path, weights_here: None, tmp_path: Path
) -> None:
    try:
        subprocess.run(["strace", "-o", "/dev/null", "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"strace does not run here: {error}")
    home = tmp_path / "home"
    home.mkdir()
    cv2.imwrite("a.png", odd.pixels(1, 200, 200))
    p = toy.PARAMS.model_copy(update={"model": "light"})
    model_file.save(Path("m.safetensors"), trained_model(p, toy.network(p)))
    trace, printed = traced(["fer", "predict", "a.png", "--model", "m.safetensors"], project, home)
    assert "predict: 1 images" in printed
    assert outside(trace) == []
    assert written(home) == []
    assert not any(home.iterdir())
