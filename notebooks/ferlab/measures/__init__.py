"""What scores a map."""
