"""The faults that a user can mend. They import nothing, so that every module can raise them.

Each is a ValueError whose text reads `key=value  rule  what is allowed  what to do`; the command line prints it
without a traceback and ends with exit code 2.
"""


class UserError(ValueError):
    """A fault in what the user asked for; the message names the key and the remedy."""


class ConfigError(UserError):
    """One or more impossible settings; `faults` holds a sentence for each.

    Args:
        faults: one sentence a fault, in the form given at the top of this file.
    """

    def __init__(self, faults: list[str]):
        super().__init__("\n".join(faults))
        self.faults = faults

    def __reduce__(self):
        return type(self), (self.faults,)


class DataError(UserError):
    """Images are missing, damaged, or do not fit the model."""


class RecordError(UserError):
    """A record or plan on disk is damaged, foreign, or belongs to another study."""


class NonFiniteLoss(ArithmeticError):  # noqa: N818 - an event of training rather than a mistake
    """The training loss stopped being a number: the cell has diverged."""
