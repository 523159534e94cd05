"""What a person or program may do on the dashboard: look, act on studies and jobs, or run the node."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """viewer looks; operator also acts on jobs, deliveries and destinations; admin also has users and settings."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def allows(self, needed: Role) -> bool:
        """Whether this role may do what `needed` may."""
        return _ORDER.index(self) >= _ORDER.index(needed)


_ORDER = (Role.VIEWER, Role.OPERATOR, Role.ADMIN)


def lower_of(one: Role, other: Role) -> Role:
    """The role that may do less."""
    return one if other.allows(one) else other
