"""The record a person keeps: attributes, their versions, the current value of each."""
