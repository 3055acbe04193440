"""The messages of sdk_configure.proto."""
from oar import _proto

globals().update(_proto.configure())
