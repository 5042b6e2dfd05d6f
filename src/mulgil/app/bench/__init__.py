"""What this machine does with the line: a real server, a load generator beside it, generated log files.

`mulgil bench` and the scripts in `benchmarks/`, which add peers, call it.
"""
