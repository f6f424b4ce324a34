"""Proof: is it there, does it cause anything, does it come back, does it hold on text nobody here wrote."""
