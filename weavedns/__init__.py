"""WeaveDNS: names for containers, answered on every Docker host from memory."""

__version__ = "0.1.0"
