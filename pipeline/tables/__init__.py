"""The tables between stages: paths, columns, files, the journal of unfinished work."""
