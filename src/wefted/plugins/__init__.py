"""Foreign protocols in which other programs ask for networks: decode, call the engine, encode."""
