"""The app of the rows embed.flower; the bench adds training.py."""
