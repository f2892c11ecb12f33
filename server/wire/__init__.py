"""Shapes of the MONAI Label wire: what clients send, choose from and get."""
