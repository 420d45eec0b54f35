"""What all parts of selfreward share, and the only part that other people's code imports."""
