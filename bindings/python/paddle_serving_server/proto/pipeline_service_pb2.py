"""The messages of pipeline_service.proto."""
from oar import _proto

globals().update(_proto.pipeline())
