"""The configuration, parsed once."""

from node.settings.load import Configuration, load_configuration, read_yaml
from node.settings.model import AnyDestination, Destination, Settings, WebDestination

__all__ = [
    "AnyDestination",
    "Configuration",
    "Destination",
    "Settings",
    "WebDestination",
    "load_configuration",
    "read_yaml",
]
