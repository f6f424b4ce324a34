"""Labels that are no emotion; emotions are counted from 0."""

NEUTRAL = -1
"""Label of a row that is known to hold no emotion: it counts against each."""
UNKNOWN = -2
"""Label of a row of which nothing is known, or which denies or mixes emotions: it counts for and against none."""
SCALES = ("valence", "arousal")
"""What texts may be rated on, in any range of numbers."""
