"""What operators hand on to one another, and the codes of what can go wrong."""
import enum

import numpy as np


class ChannelDataErrcode(enum.Enum):
    OK = 0
    PRODUCT_ERROR = 50
    NOT_IMPLEMENTED = 3000
    CLOSED_ERROR = 3001
    NO_SERVICE = 3002
    INIT_ERROR = 3003
    CONF_ERROR = 4000
    INPUT_PARAMS_ERROR = 5000
    TIMEOUT = 6000
    TYPE_ERROR = 7000
    RPC_PACKAGE_ERROR = 8000
    CLIENT_ERROR = 9000
    UNKNOW = 10000


class ProductErrCode(enum.Enum):
    """Codes of services' own, from 51 to 999, are given as numbers or as members of an enum like this."""


class ChannelDataType(enum.Enum):
    DICT = 0
    CHANNEL_NPDATA = 1
    ERROR = 2


class ChannelData:
    """The data of one request between two operators, or its error."""

    def __init__(self, datatype=None, npdata=None, dictdata=None, data_id=None, log_id=None, error_code=None, error_info=None,
                 prod_error_code=None, prod_error_info=None, client_need_profile=False):
        self.id, self.log_id = data_id, log_id
        self.npdata, self.dictdata = npdata, dictdata
        self.prod_error_code, self.prod_error_info = prod_error_code, prod_error_info
        self.error_code = ChannelDataErrcode.OK.value if error_code is None else error_code
        self.error_info = error_info or ""
        if datatype is not None:
            self.datatype = datatype.value if isinstance(datatype, enum.Enum) else datatype
        elif self.error_code:
            self.datatype = ChannelDataType.ERROR.value
        else:
            self.datatype = (ChannelDataType.CHANNEL_NPDATA if npdata is not None else ChannelDataType.DICT).value
        self.client_need_profile = client_need_profile
        self.profile_data_set = set()

    @classmethod
    def of(cls, data, data_id, log_id):
        """Arrays alone are npdata, anything else a dict."""
        if data and all(isinstance(v, np.ndarray) for v in data.values()):
            return cls(npdata=data, data_id=data_id, log_id=log_id)
        return cls(dictdata=data, data_id=data_id, log_id=log_id)

    @classmethod
    def failed(cls, code, words, data_id, log_id):
        return cls(error_code=code.value if isinstance(code, enum.Enum) else int(code), error_info=words, data_id=data_id, log_id=log_id)

    def get_all_data(self):
        return "type[{}], error_code[{}], data_id[{}], log_id[{}], dict_data[{}]".format(
            ChannelDataType(self.datatype).name, self.error_code, self.id, self.log_id, self.dictdata)

    def parse(self):
        return self.npdata if self.npdata is not None else self.dictdata
