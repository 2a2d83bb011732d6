"""One module per DVC stage: it reads the declared inputs, calls the rooms, writes the declared outputs."""
