"""The pool and DICOMweb: images of a PACS, labels that go back to it, and the pool shown as one."""
