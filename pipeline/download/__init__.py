"""Fetch model files from elsewhere. Each is checked by its SHA-256 before it is read."""
