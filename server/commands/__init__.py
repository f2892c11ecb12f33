"""One module per subcommand of ``caclabel``."""
