"""Pure decisions: what should exist, given what was observed and the time."""
