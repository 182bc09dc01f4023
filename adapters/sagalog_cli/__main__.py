"""`python -m sagalog_cli` is `sagalog`."""

from sagalog_cli.main import main

main(prog_name="sagalog")
