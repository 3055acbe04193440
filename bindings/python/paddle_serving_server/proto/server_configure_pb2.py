"""The messages of server_configure.proto."""
from oar import _proto

globals().update(_proto.configure())
