"""Roles of those who may use the API; who may do what is said by each path (`access`)."""

from enum import StrEnum


class Role(StrEnum):
    """What a name may do: look; make and delete exports too; everything."""

    VIEWER = "viewer"
    RESEARCHER = "researcher"
    ADMIN = "admin"

    def may(self, needed: "Role") -> bool:
        """Whether it includes another role."""
        order = list(Role)
        return order.index(self) >= order.index(needed)
