"""Database, files and migrations."""
