"""`python -m pipeline`: the command `fer`, with the code of the current folder.

The stages in dvc.yaml are called this way: DVC runs queued experiments in copies of the project, and each must run
its own copy of the code, not the installed one.
"""

from pipeline.cli import main

main()
