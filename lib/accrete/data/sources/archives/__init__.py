"""Images in few large files: WebDataset's tar shards, MNIST's idx files."""
