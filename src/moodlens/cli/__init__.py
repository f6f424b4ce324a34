"""The command line: parse, call one function, print."""


def main() -> None:
    """Run the command line and exit: the program ``moodlens``."""
    try:
        from moodlens.cli.program import run
    except KeyboardInterrupt:
        raise SystemExit(130) from None  # as everywhere else: no traceback, however early it comes
    run()
