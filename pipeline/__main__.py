"""Run `fer` with the code of the current folder: `python -m pipeline`.

The stages in dvc.yaml use this form. DVC runs queued experiments in copies of the project, and each copy must run its
own code instead of the installed package.
"""

from pipeline.core.ending import stage_ends_with_launcher

stage_ends_with_launcher()

from pipeline.cli import main  # noqa: E402 - it takes a while, in which the launcher may end

main()
