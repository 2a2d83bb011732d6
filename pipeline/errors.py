"""The one error that a user sees as a line of text instead of a traceback."""


class UserError(Exception):
    """Something a user can put right: one line naming the file, row or key, what was found, what is allowed."""
