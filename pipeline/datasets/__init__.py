"""One module per published data set: its layout on disk to records.

The module's name is the data set's name: `datasets: [ferplus]` is `pipeline/datasets/ferplus.py` and
`data/raw/ferplus`, a folder, an archive of it, or a link to either. A module offers

* `records(tree) -> Listing`: every row of the data set, added to the listing as a record, whose picture is read
  later, or rejected with a reason. What is wrong with the data set as a whole (no such file, no such column) is a
  `UserError`; what is wrong with one row never is.

Labels are mapped by name, never by position. The docstring shows the expected tree and says what an id is.
"""
