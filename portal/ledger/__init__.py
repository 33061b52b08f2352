"""The disclosure log: who saw what, when and why; rows are only ever added."""
