"""The training runner: fetch, package, profile, report; and a small SDK for users."""
