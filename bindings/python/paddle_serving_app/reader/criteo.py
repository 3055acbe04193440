"""CriteoDataset: lines of the Criteo data as the inputs of click models."""
import numpy as np

from ._batches import batches


class CriteoDataset:
    """setup(dim), then process(line) for a client's feed."""
    CONT_MIN = [0, -3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    CONT_DIFF = [20, 603, 100, 50, 64000, 500, 100, 50, 500, 10, 10, 10, 50]

    def setup(self, sparse_feature_dim=1000001, hash_function=hash):
        """The numbers depend on the hash, which Python makes anew in each process: set PYTHONHASHSEED as in training."""
        self.hash_dim_, self.hash_ = sparse_feature_dim, hash_function

    def _process_line(self, line):
        features = line.rstrip("\n").split("\t")
        if len(features) != 40:
            raise ValueError(f"a line of Criteo's data has 40 fields between tabs, and this one {len(features)}")
        dense = [0.0 if features[i] == "" else (float(features[i]) - self.CONT_MIN[i - 1]) / self.CONT_DIFF[i - 1] for i in range(1, 14)]
        sparse = [[self.hash_(str(i) + features[i]) % self.hash_dim_] for i in range(14, 40)]
        return dense, sparse, [int(features[0])]

    def process(self, line):
        """A feed: dense_input [1, 13] and embedding_N.tmp_0 with offsets."""
        dense, sparse, _ = self._process_line(line)
        feed = {"dense_input": np.array(dense, "float32").reshape(1, 13)}
        for i, ids in enumerate(sparse):
            feed[f"embedding_{i}.tmp_0"] = np.array(ids, "int64").reshape(-1, 1)
            feed[f"embedding_{i}.tmp_0.lod"] = [0, len(ids)]
        return feed

    def infer_reader(self, filelist, batch, buf_size):
        """A reader of batches of (dense, sparse, [label]) over files."""
        return lambda: batches(filelist, batch, self._process_line)
