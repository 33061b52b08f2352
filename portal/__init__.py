"""The Ultimate Customer Master: one profile, kept by its person, followed by the companies they chose."""
