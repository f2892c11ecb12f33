"""How it is asked: HTTP and the command line only."""
