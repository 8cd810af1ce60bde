"""The calls to GitHub that the workflows make."""
