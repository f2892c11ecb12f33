"""Whether what is kept is what was given: checks, damage, backups, and what a server needs."""
