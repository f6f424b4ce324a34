from .write import render as render
