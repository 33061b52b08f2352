"""Calls to addresses that companies supply: checked, followed nowhere, ended in time."""
