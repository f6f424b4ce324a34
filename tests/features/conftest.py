"""Helpers of these tests can be imported by name, though pytest imports every file on its own."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # naming_study.py
