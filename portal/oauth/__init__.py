"""The authorization server: one file per document it implements."""
