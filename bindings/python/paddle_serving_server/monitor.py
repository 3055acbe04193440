"""python -m paddle_serving_server.monitor: fetches new versions of a model as a done-file announces them. `oar monitor` does it;
the classes give it its options."""
import os
import subprocess
import sys

from oar import _binary


class Monitor:
    """Looks for new versions from `run` on. The setters are the options of `oar monitor`."""

    kind = "general"

    def __init__(self, interval):
        self._options = {"interval": interval}

    def set_remote_path(self, remote_path):
        self._options["remote_path"] = remote_path

    def set_remote_model_name(self, model_name):
        self._options["remote_model_name"] = model_name

    def set_remote_donefile_name(self, donefile_name):
        self._options["remote_donefile_name"] = donefile_name

    def set_local_path(self, local_path):
        self._options["local_path"] = local_path

    def set_local_model_name(self, model_name):
        self._options["local_model_name"] = model_name

    def set_local_timestamp_file(self, timestamp_file):
        self._options["local_timestamp_file"] = timestamp_file

    def set_local_tmp_path(self, tmp_path):
        self._options["local_tmp_path"] = tmp_path

    def set_unpacked_filename(self, unpacked_filename):
        self._options["unpacked_filename"] = unpacked_filename

    def command(self):
        """The command line that `run` runs. What was set to None is left to its default."""
        words = [_binary.path(), "monitor", "--type", self.kind]
        for name, value in self._options.items():
            words += [] if value is None else [f"--{name}", str(value)]
        return words

    def run(self):
        """Until it is told to end. A fault is told and tried again."""
        status = subprocess.run(self.command()).returncode
        if status:
            raise RuntimeError(f"oar monitor ended with status {status}; its words are above")


class GeneralMonitor(Monitor):
    """Over HTTP, or from a directory."""

    def __init__(self, host, interval=10):
        super().__init__(interval)
        self._options["general_host"] = host


class FTPMonitor(Monitor):
    """From an FTP server."""

    kind = "ftp"

    def __init__(self, host, port, username="", password="", interval=10):
        super().__init__(interval)
        self._options.update(ftp_host=host, ftp_port=port, ftp_username=username or None, ftp_password=password or None)


class HadoopMonitor(Monitor):
    """From HDFS or AFS, over WebHDFS."""

    kind = "hdfs"

    def __init__(self, hadoop_bin, fs_name="", fs_ugi="", interval=10):
        super().__init__(interval)
        self._options.update(hadoop_bin=hadoop_bin or None, fs_name=fs_name or None, fs_ugi=fs_ugi or None)


def main():
    os.execv(_binary.path(), [_binary.path(), "monitor", *sys.argv[1:]])


if __name__ == "__main__":
    main()
