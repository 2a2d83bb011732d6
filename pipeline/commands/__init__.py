"""Commands of `fer` that are more than a stage: each module holds one, or a group of them."""
