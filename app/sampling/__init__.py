"""Offering samples: rankings of the pool, what a label costs, leases and annotation times."""
