"""DICOMweb for viewers on our own origin: passed on to a PACS, or answered from the pool."""
