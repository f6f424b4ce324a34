"""What tests share: import as ``from helpers.NAME import ...``."""
