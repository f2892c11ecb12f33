"""Images of a DICOMweb server: registered, kept at hand, and labels that go back to it."""
