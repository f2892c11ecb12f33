"""Predicting images, and keeping what was predicted."""
