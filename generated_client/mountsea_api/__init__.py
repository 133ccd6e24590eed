"""A client library for accessing Google Gemini - Video, Image & SDK Compat"""

from .client import AuthenticatedClient, Client

__all__ = (
    "AuthenticatedClient",
    "Client",
)
