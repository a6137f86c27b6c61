"""Tables of what accelerators take, each row with its source; read by `edgemat.verify.lint.table`."""
