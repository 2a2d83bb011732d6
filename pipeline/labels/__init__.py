"""From votes to labels: the rules, the annotators' agreement, duplicates between splits, and contact sheets."""
