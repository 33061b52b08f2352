"""What each company may see, for what purpose, how, and until when."""
