"""A server and a worker that are asked to stop."""
