"""The DICOM node: everything between the wire and a pipeline.

Rooms and what each one may know are listed in CONTRIBUTING.md. Pipelines never import this package.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("osteon")
except PackageNotFoundError:  # run from a checkout that was never installed
    __version__ = "0+unknown"
