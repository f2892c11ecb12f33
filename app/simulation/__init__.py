"""Active learning against an oracle: which strategy learns most from how many labels."""
