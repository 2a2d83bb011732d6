"""From votes to labels: voting rules, agreement of annotators, drawn splits, duplicates between splits."""
