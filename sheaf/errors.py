"""The errors a user sees.

Every message is one clear sentence that names the file, line or key and says what to do.
Anything that is not a `SheafError` is a defect in Sheaf, not a mistake of its user.
"""


class SheafError(Exception):
    """Something failed for a reason the user can act on."""


class UsageError(SheafError):
    """The request itself is wrong: an unknown name, option, filter key or value."""


class NotFoundError(SheafError):
    """What was asked for does not exist."""


class InputError(SheafError):
    """An input as a whole cannot be used; what was published from it before stays as it is."""


class RefusedError(InputError):
    """The newest delivery of a partition was refused; its last good tables and exports stay."""


class StaleError(InputError):
    """The tables of a partition do not belong together, or were made with other settings or code than today's."""


class VerificationError(SheafError):
    """The files of an export are not what its format promises, or not what its manifest says."""


class StoreError(SheafError):
    """The object store cannot be reached, refuses the credentials, or is full."""


class DamagedError(StoreError):
    """One object of the store is empty or torn; `sheaf doctor` sets it aside, everything else goes on."""


class StoppedError(SheafError):
    """The run was asked to stop while it worked; what it was about to commit is not committed."""


class SourceError(SheafError):
    """A source cannot be reached, refuses the credentials or fails; what was read before stays as it is."""
