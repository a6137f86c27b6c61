"""Every error edgemat raises on purpose, each with the exit code that the command line gives it."""

from __future__ import annotations


class EdgematError(Exception):
    """Base of all intended errors: the message is written for the person at the terminal.

    It names the artefact, the tensor or the option, what was found, what was expected and what to run next.

    Attributes:
        exit_code: What ``edgemat`` exits with when this error ends a command.
    """

    exit_code = 2


class InputError(EdgematError):
    """A file, folder or option that the user gave cannot be used (exit code 2)."""


class BackendMissingError(EdgematError):
    """A package or system that a target needs is not here; the message says what to install (exit code 3)."""

    exit_code = 3


class UnsupportedOpError(EdgematError):
    """A network holds operators that a target cannot express; all of them are listed at once (exit code 4)."""

    exit_code = 4


class OutputError(EdgematError):
    """A result could not be written: no space, no permission, or the goal is of the wrong kind (exit code 2)."""
