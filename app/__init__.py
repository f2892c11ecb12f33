"""What can be done: use cases, domain, files and jobs. No HTTP."""
