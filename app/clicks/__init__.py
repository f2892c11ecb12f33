"""Click-to-label: the calcified lesion at a click, and the artery it belongs to."""
