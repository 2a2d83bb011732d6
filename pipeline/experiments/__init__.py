"""A paper's table as runs: recipes, DVC's queue, runs, comparison, table."""
