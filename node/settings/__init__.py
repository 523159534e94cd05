"""The configuration, parsed once."""

from node.settings.load import Configuration, load_configuration, read_yaml
from node.settings.model import Destination, Settings

__all__ = ["Configuration", "Destination", "Settings", "load_configuration", "read_yaml"]
