"""Which image next: numpy in, numpy out, pure functions."""
