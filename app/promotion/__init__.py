"""Whether a new model version may answer: measured beside the one that answers now."""
