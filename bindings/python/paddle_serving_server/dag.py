"""The makers of a service's operator graph. What they make are the original's messages: DAGNode as text, WorkflowConf."""
import collections

from google.protobuf import text_format

from oar import _proto

# names of the first releases
OLD_NAMES = {
    "general_reader": "GeneralReaderOp", "general_infer": "GeneralInferOp", "general_response": "GeneralResponseOp",
    "general_text_reader": "GeneralTextReaderOp", "general_text_response": "GeneralTextResponseOp",
    "general_single_kv": "GeneralSingleKVOp", "general_dist_kv": "GeneralDistKVOp",
    "general_dist_kv_infer": "GeneralDistKVInferOp", "general_copy": "GeneralCopyOp", "general_detection": "GeneralDetectionOp",
}


class OpMaker:
    """create(type) gives an operator of the graph: its node as text, which add_op of a maker takes."""

    def __init__(self):
        self.op_list = [
            "GeneralInferOp", "GeneralReaderOp", "GeneralResponseOp", "GeneralTextReaderOp", "GeneralTextResponseOp",
            "GeneralSingleKVOp", "GeneralDistKVInferOp", "GeneralDistKVOp", "GeneralCopyOp", "GeneralDetectionOp",
            "GeneralRemoteOp",
        ]
        self._count = collections.Counter()

    def create(self, node_type, engine_name=None, inputs=[], outputs=[], addresses=[]):
        kind = node_type if node_type in self.op_list else OLD_NAMES.get(node_type, node_type)
        if kind not in self.op_list:
            raise Exception("Op type {} is not supported right now".format(node_type))
        node = _proto.configure()["DAGNode"](type=kind)
        if engine_name:
            node.name = engine_name
        else:
            node.name = "{}_{}".format(kind, self._count[kind])
            self._count[kind] += 1
        node.address.extend(addresses)
        for text in inputs:
            node.dependencies.add(name=parse_node(text).name, mode="RO")
        return text_format.MessageToString(node)


def parse_node(text):
    """The DAGNode of what OpMaker.create gave."""
    node = _proto.configure()["DAGNode"]()
    text_format.Merge(text, node)
    return node


def _workflow():
    conf = _proto.configure()["WorkflowConf"]()
    conf.workflows.add(name="workflow1", workflow_type="Sequence")
    return conf


class OpSeqMaker:
    """Operators one after another."""

    def __init__(self):
        self.workflow_conf = _workflow()
        self.workflow = self.workflow_conf.workflows[0]

    def add_op(self, node_str):
        node = parse_node(node_str)
        if len(node.dependencies) > 1:
            raise Exception("Set more than one predecessor for op in OpSeqMaker is not allowed.")
        if self.workflow.nodes:
            last = self.workflow.nodes[-1].name
            if not node.dependencies:
                node.dependencies.add(name=last, mode="RO")
            elif node.dependencies[0].name != last:
                raise Exception("You must add op in order in OpSeqMaker. The previous op is {}, but the current op is followed by {}."
                                .format(node.dependencies[0].name, last))
        self.workflow.nodes.append(node)

    def get_op_sequence(self):
        return self.workflow_conf


class OpGraphMaker:
    """Operators in any acyclic order, each with the inputs that its creation named."""

    def __init__(self):
        self.workflow_conf = _workflow()
        self.workflow = self.workflow_conf.workflows[0]

    def add_op(self, node_str):
        self.workflow.nodes.append(parse_node(node_str))

    def get_op_graph(self):
        return self.workflow_conf
