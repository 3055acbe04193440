"""Stubs of gRPC as grpcio's compiler would write them, for scripts that bring a channel of grpcio's own."""
from __future__ import annotations

from typing import Any, Dict, Type


def stub(name: str, service: str, method: str, messages: Dict[str, Any]) -> Type[Any]:
    """The class `name`: made with a channel, it has the service's method, which takes a Request and gives a Response."""
    def make(self: Any, channel: Any) -> None:
        call = channel.unary_unary(f"/{service}/{method}", request_serializer=messages["Request"].SerializeToString,
                                   response_deserializer=messages["Response"].FromString)
        setattr(self, method, call)
    return type(name, (), {"__init__": make, "__doc__": f"Calls {service} over a channel of grpcio."})
