"""A real PostgreSQL and a real Valkey from wheels, for one machine; production names its own by URL."""
