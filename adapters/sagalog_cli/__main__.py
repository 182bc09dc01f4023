"""The entry point of `sagalog`, which `python -m sagalog_cli` is as well."""

from sagalog_cli import interrupts


def run() -> None:
    """Run the command of `sys.argv`, and end the process with its status."""
    interrupts.end_at_once()
    from sagalog_cli.command_line import main

    main(prog_name="sagalog")


if __name__ == "__main__":
    run()
