"""What BERT's readers share."""


class BertBaseReader:
    def __init__(self):
        self.feed_keys = ["input_ids", "position_ids", "segment_ids", "input_mask"]

    def set_feed_keys(self, keys):
        self.feed_keys = keys

    def get_feed_keys(self):
        return self.feed_keys
