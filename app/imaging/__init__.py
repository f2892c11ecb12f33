"""Readers, writers and geometry: the only room that knows pydicom and nibabel."""
