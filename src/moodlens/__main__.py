"""`python -m moodlens` is the command `moodlens`."""

from moodlens.cli import main

if __name__ == "__main__":
    main()
