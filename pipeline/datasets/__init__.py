"""One module per published data set: it turns the layout on disk into records.

A module has the data set's name. `datasets: [ferplus]` selects `pipeline/datasets/ferplus.py` and the raw data
`data/raw/ferplus`: a folder, an archive of it, or a link to either. A module offers

* `records(tree) -> Listing`: adds every row of the data set as a record, whose picture is read later, or rejects it
  with a reason. If `params.yaml` has the key `ingest.<data set>`, its value is a second argument. The function raises
  `UserError` if the data set as a whole is wrong (a file or a column is missing), never for a single row.

Labels are mapped by name, never by position. A module's docstring shows the expected tree and the form of an id.
"""
