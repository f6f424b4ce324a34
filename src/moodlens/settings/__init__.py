"""What can be set, with units and defaults. Imports nothing but pydantic and the reader of YAML."""
