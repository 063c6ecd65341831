"""What can go wrong before a model is served, as one word and a message a user can act on."""

from __future__ import annotations


class ServerError(Exception):
    """The server cannot serve this version; `reason` is one word, the message says what to do."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ArtifactMissingError(ServerError):
    """There is nothing, or nothing readable, at the artifact's or profile's URI."""

    def __init__(self, message: str) -> None:
        super().__init__("ArtifactMissing", message)


class ArtifactChangedError(ServerError):
    """The bytes in the store are not those that were registered."""

    def __init__(self, message: str) -> None:
        super().__init__("ArtifactChanged", message)


class ModelNotLoadableError(ServerError):
    """The bytes are right, but they are not a model that this server can load."""

    def __init__(self, message: str) -> None:
        super().__init__("ModelNotLoadable", message)


class InvalidConfigurationError(ServerError):
    """An environment variable is missing or cannot be read."""

    def __init__(self, message: str) -> None:
        super().__init__("InvalidConfiguration", message)
