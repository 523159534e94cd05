"""The project's own benchmarks: what osteon does beside its peers, in the same run, on the same machine."""
