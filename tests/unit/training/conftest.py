"""Properties have no deadline: the machine may be busy, and a slow example is no wrong one."""

from hypothesis import settings

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
