"""Errors that a user can correct; the module imports nothing, so that every other can raise them.

Each message has the form `key=value  rule  what is allowed  what to do`; the command line prints it without a
traceback and exits with code 2.
"""


class UserError(ValueError):
    """An error in the user's input; the message names the key and the remedy."""


class ConfigError(UserError):
    """One or more invalid settings.

    Args:
        errors: one message for each, in the form given at the top of this file.
    """

    def __init__(self, errors: list[str]):
        super().__init__("\n".join(errors))
        self.errors = errors

    def __reduce__(self):
        return type(self), (self.errors,)


class DataError(UserError):
    """Images that are missing, damaged, or do not fit the model."""


class RecordError(UserError):
    """A record or plan on disk that is damaged, foreign, or part of another study."""


class LockLost(UserError):  # noqa: N818 - an event rather than a mistake
    """A cell that another process has taken over: this one stops and writes nothing more into its directory."""


class NonFiniteLoss(ArithmeticError):  # noqa: N818 - an event of training rather than a mistake
    """A training loss that is not finite: the cell has diverged."""
