"""Training new model versions: when, on which labels, from which weights, and whether they stay."""
