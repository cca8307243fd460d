"""This process: its memory and its signals."""
