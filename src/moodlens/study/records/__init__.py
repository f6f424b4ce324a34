"""The records and tables of a study, by topic: what each file holds, with units."""
