"""What comes in is checked here: names, volumes of the studies folder, submitted labels."""
