"""Arteries, calcium scores, risk categories and the phantom."""
