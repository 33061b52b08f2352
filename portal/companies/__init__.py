"""The companies that may ask, their clients, keys and purposes."""
