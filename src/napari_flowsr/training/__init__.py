"""Training: configuration, losses, and a trainer that yields typed events."""
