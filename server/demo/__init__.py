"""The demonstration: an annotator played against a real server, and a report about it."""
