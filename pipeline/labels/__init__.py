"""From votes to labels: the rules, the annotators' agreement, and duplicates between splits."""
