"""Paddle Serving's messages under their old module names."""
