"""How good synthetic faces are: distances to real ones, memorised ones, and pictures of both."""
