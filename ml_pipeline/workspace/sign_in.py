"""Credentials of the SDK whose failures have a class of their own. Imports the SDK, which takes long."""

from __future__ import annotations

from databricks.sdk.config import Config
from databricks.sdk.credentials_provider import CredentialsProvider, CredentialsStrategy, DefaultCredentials


class SignInError(OSError):
    """No token was issued. The SDK raises whatever comes: for status 503 a bare ``Exception`` or ``ValueError``."""


class Credentials(DefaultCredentials, CredentialsStrategy):
    """The SDK's own choice of credentials."""

    def __call__(self, cfg: Config) -> CredentialsProvider:
        """What gives the headers of each request.

        Raises:
            SignInError: when it is called, and no token is issued.
        """
        headers = super().__call__(cfg)

        def signed_in() -> dict[str, str]:
            try:
                return headers()
            except Exception as error:
                raise SignInError(str(error)) from error

        return signed_in
