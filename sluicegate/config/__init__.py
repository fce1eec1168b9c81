"""Configuration: TOML in, checked settings out."""
