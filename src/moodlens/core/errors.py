"""The one error that means "your input is wrong", as opposed to "our code is wrong"."""


class BadInput(ValueError):
    """A file, setting or value from outside cannot be used.

    The message is one line that names the file and the place and says what to do;
    the command line prints it on standard error and exits with status 2.
    """
