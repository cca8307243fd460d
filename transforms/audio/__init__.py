"""An encoded file to 30 s blocks of mono float32 at 16 kHz; what is damaged in it."""
