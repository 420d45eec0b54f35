"""Each generator of the library reasoning-gym as a world."""
