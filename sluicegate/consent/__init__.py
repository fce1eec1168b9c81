"""What people allow: reading it from events, and judging what a destination requires."""
