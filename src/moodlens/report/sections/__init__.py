"""The report's sections, each a pure function of the evidence."""
