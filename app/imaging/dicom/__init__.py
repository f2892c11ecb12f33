"""DICOM objects and servers: CT series, segmentations, reports, DICOMweb."""
