"""Methods against each other: the same start, budget and batches, several seeds, intervals over cases."""
