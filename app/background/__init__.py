"""Background work: how jobs are run, survive a kill, and who runs them."""
