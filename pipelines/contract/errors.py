"""What a pipeline may raise on purpose."""


class ContentRefused(Exception):
    """The series is not what the pipeline needs.

    The text is one sentence for the person who asks why nothing came back; the job ends as `rejected`.
    """


class WeightsError(Exception):
    """Weights are missing, damaged (sha256) or do not fit the network; the text names the file and the way out."""


class DeviceError(Exception):
    """The configured device cannot be used; osteon never falls back to the CPU in silence."""
