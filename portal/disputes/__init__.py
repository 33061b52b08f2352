"""Questions about rows of the log: what a person does not recognise, and who explains it by when."""
