"""Official scoring of answers: rules of published benchmarks, without torch, network or Java."""
