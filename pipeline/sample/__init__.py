"""The embedded sample: drawn faces with simulated votes."""
