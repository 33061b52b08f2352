"""Getting a change, or a pulled record, to every company that may have it."""
