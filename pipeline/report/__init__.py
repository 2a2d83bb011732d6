"""Write one HTML file about a run.

`revisions` finds the run's files, `run` and `predictions` read them, the modules of tables,
`charts` and `images` show their content, and `page` puts everything together.
"""
