"""What the user names to work items, and these to `AudioSource`s."""
