"""Reproduce a paper's table: recipes, DVC's queue, sweeps of runs, comparison and table."""
