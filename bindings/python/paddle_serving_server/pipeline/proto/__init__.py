"""The pipeline's messages under their old module names."""
