"""baidu_std and GeneralModelService by an implementation of protobuf that is not ours (Google's), from the field numbers
that the original's .proto files have."""
import socket
import struct

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE = "baidu.paddle_serving.predictor.general_model.GeneralModelService"
GZIP, ZLIB, SNAPPY, LZ4 = 2, 3, 1, 4

F = descriptor_pb2.FieldDescriptorProto
SCHEMA = {
    "Tensor": ("proto3", [(1, "int64_data", "repeated int64"), (2, "float_data", "repeated float"), (3, "int_data", "repeated int32"),
                          (4, "float64_data", "repeated double"), (5, "uint32_data", "repeated uint32"), (6, "bool_data", "repeated bool"),
                          (7, "complex64_data", "repeated float"), (8, "complex128_data", "repeated double"), (9, "data", "repeated string"),
                          (10, "elem_type", "int32"), (11, "shape", "repeated int32"), (12, "lod", "repeated int32"), (13, "name", "string"),
                          (14, "alias_name", "string"), (15, "tensor_content", "bytes")]),
    "Request": ("proto3", [(1, "tensor", "repeated .oar.Tensor"), (2, "fetch_var_names", "repeated string"), (3, "profile_server", "bool"),
                           (4, "log_id", "uint64")]),
    "ModelOutput": ("proto3", [(1, "tensor", "repeated .oar.Tensor"), (2, "engine_name", "string")]),
    "Response": ("proto3", [(1, "outputs", "repeated .oar.ModelOutput"), (2, "profile_time", "repeated int64"), (3, "profile_server", "bool"),
                            (4, "log_id", "uint64"), (5, "err_no", "int32"), (6, "err_msg", "string")]),
    "RequestMeta": ("proto2", [(1, "service_name", "string"), (2, "method_name", "string"), (3, "log_id", "int64"), (8, "timeout_ms", "int32")]),
    "ResponseMeta": ("proto2", [(1, "error_code", "int32"), (2, "error_text", "string")]),
    "Meta": ("proto2", [(1, "request", ".oar.RequestMeta"), (2, "response", ".oar.ResponseMeta"), (3, "compress_type", "int32"),
                        (4, "correlation_id", "int64"), (5, "attachment_size", "int32"), (7, "authentication_data", "bytes"),
                        (9, "user_fields", "repeated .oar.Entry")]),
    "Entry": ("proto2", [(1, "key", "string"), (2, "value", "string")]),  # what a map<string, string> is on the wire
    # Before Paddle Serving 0.7.
    "OldTensor": ("proto2", [(1, "data", "repeated bytes"), (2, "int_data", "repeated int32"), (3, "int64_data", "repeated int64"),
                             (4, "float_data", "repeated float"), (5, "elem_type", "int32"), (6, "shape", "repeated int32"),
                             (7, "lod", "repeated int32")]),
    "OldInst": ("proto2", [(1, "tensor_array", "repeated .oar.OldTensor")]),
    "OldRequest": ("proto2", [(1, "insts", "repeated .oar.OldInst"), (2, "fetch_var_names", "repeated string"), (3, "profile_server", "bool"),
                              (4, "log_id", "uint64")]),
    "OldOutput": ("proto2", [(1, "insts", "repeated .oar.OldInst"), (2, "engine_name", "string")]),
    "OldResponse": ("proto2", [(1, "outputs", "repeated .oar.OldOutput"), (2, "profile_time", "repeated int64")]),
}


def build():
    pool = descriptor_pool.DescriptorPool()
    for syntax in ("proto3", "proto2"):
        file = descriptor_pb2.FileDescriptorProto(name=f"oar_{syntax}.proto", package="oar", syntax=syntax)
        for name, (of, fields) in SCHEMA.items():
            if of != syntax:
                continue
            message = file.message_type.add(name=name)
            for number, field, kind in fields:
                repeated, kind = kind.startswith("repeated "), kind.removeprefix("repeated ")
                f = message.field.add(name=field, number=number, label=F.LABEL_REPEATED if repeated else F.LABEL_OPTIONAL)
                if kind.startswith("."):
                    f.type, f.type_name = F.TYPE_MESSAGE, kind
                else:
                    f.type = getattr(F, f"TYPE_{kind.upper()}")
        pool.Add(file)
    # GetMessageClass is the name since protobuf 4.22; Debian 12 has an older one.
    new_class = getattr(message_factory, "GetMessageClass", None) or message_factory.MessageFactory(pool).GetPrototype
    return {name: new_class(pool.FindMessageTypeByName(f"oar.{name}")) for name in SCHEMA}


PB = build()


def frame(request, correlation=1, service=SERVICE, method="inference", compress=0, meta=b"", attachment=b"", key=None):
    """One baidu_std frame; request: a message or payload bytes."""
    payload = request if isinstance(request, bytes) else request.SerializeToString()
    m = PB["Meta"](compress_type=compress, correlation_id=correlation)
    m.request.service_name, m.request.method_name = service, method
    if attachment:
        m.attachment_size = len(attachment)
    if key is not None:
        m.authentication_data = key
    head = m.SerializeToString() + meta
    return b"PRPC" + struct.pack(">II", len(head) + len(payload) + len(attachment), len(head)) + head + payload + attachment


def read_exactly(s, n):
    data = b""
    while len(data) < n:
        piece = s.recv(n - len(data))
        if not piece:
            raise EOFError(f"the server closed the connection after {len(data)} of {n} bytes")
        data += piece
    return data


def read_frame(s):
    """(meta, payload bytes as they came)"""
    head = read_exactly(s, 12)
    assert head[:4] == b"PRPC"
    body, meta = struct.unpack(">II", head[4:])
    data = read_exactly(s, body)
    return PB["Meta"].FromString(data[:meta]), data[meta:]


class Connection:
    def __init__(self, port, timeout=20):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def call(self, request, **kw):
        """(meta, Response) of one call"""
        self.socket.sendall(frame(request, **kw))
        meta, payload = read_frame(self.socket)
        return meta, PB["Response"].FromString(payload) if meta.compress_type == 0 else payload


ROW = [0.0137, -0.1136, 0.2553, -0.0692, 0.0582, -0.0727, -0.1583, -0.0584, 0.6283, 0.4919, 0.1856, 0.0795, -0.0332]


def uci_request(fetch=("price",), rows=1, **tensor):
    """The request of the original's own example: one row of 13 features."""
    r = PB["Request"](fetch_var_names=list(fetch))
    fields = dict(float_data=ROW * rows, elem_type=1, shape=[rows, 13], name="x", alias_name="x")
    fields.update(tensor)
    r.tensor.add(**fields)
    return r
