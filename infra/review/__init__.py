"""Plans: written for review, compared, applied."""
