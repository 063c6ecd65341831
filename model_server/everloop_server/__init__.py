"""The MLServer runtime of Everloop: digest check, signature check, monitoring."""
