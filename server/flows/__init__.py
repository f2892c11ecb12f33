"""What an endpoint does beyond one use case: files in and out, transactions, waiting."""
