"""What the configuration changes about events on their way to one destination; pure."""
