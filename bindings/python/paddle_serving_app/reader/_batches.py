"""What readers of text files share."""


def batches(paths, size, read, encoding=None):
    """Lists of read(line) of the files' lines, `size` long but for the last one."""
    rows = []
    for path in paths:
        with open(path, encoding=encoding) as f:
            for line in f:
                rows.append(read(line))
                if len(rows) == size:
                    yield rows
                    rows = []
    if rows:
        yield rows
