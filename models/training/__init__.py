"""Fitting a network: cases, losses, schedules and the trainer."""
