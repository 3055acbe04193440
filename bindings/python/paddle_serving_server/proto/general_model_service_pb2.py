"""The messages of general_model_service.proto."""
from oar import _proto

globals().update(_proto.general_model())
