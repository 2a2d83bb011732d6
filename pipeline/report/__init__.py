"""One HTML file about a run: `revisions` finds its files, `collect` reads them, `tables`, `figures` and `pictures` show
what they say, and `page` puts it together."""
