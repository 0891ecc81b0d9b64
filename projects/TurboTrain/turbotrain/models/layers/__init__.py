"""What several necks are made of."""
