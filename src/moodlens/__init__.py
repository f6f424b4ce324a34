"""moodlens: find, prove and steer with emotion features in text embeddings."""

__version__ = "0.1.0"
