"""The environment check: `python -m paddle_serving_server.serve check`."""
