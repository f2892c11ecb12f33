"""What a network knows: torch in, torch out. No HTTP, no database, no DICOM."""
