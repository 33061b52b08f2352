"""What every page shares: who may open it, how it is drawn, and how it fails."""
