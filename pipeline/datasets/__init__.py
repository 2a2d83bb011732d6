"""One module per published data set: its layout on disk to records.

The module's name is the data set's name: `datasets: [ferplus]` is `pipeline/datasets/ferplus.py` and the
folder `data/raw/ferplus`. A module offers

* `records(folder) -> Listing`: every row of the data set, either as a `Record`, whose picture is read later,
  or as a `Rejected` with a reason. What is wrong with the data set as a whole (no such file, no such column)
  is a `UserError`; what is wrong with one row never is.

Labels are mapped by name, never by position. The docstring shows the expected tree and says what an id is.
"""
