"""The errors that cross rooms.

Two kinds matter to whoever retries: `PermanentError` (trying again cannot help) and `RetriableError`
(it may). One layer retries, `node.jobs` for jobs and `node.deliver` for deliveries; nothing below it does.
"""


class OsteonError(Exception):
    """Base of every error that osteon raises on purpose; its text is a sentence a person can act on."""


class ConfigurationError(OsteonError):
    """The configuration is wrong: `problems` lists every mistake as 'file: key: what is wrong'."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class PermanentError(OsteonError):
    """Trying again cannot help."""


class RetriableError(OsteonError):
    """Trying again later may help."""


class StoreUnavailable(RetriableError):
    """The store cannot give or take a file now (disk full, share away): waiting helps, and nobody's attempt failed."""
