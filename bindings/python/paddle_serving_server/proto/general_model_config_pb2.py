"""The messages of general_model_config.proto."""
from oar import _proto

globals().update(_proto.configure())
