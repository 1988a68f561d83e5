"""`python -m sublet_hub.cli`: the same as `sublet`, whatever is on PATH."""

from sublet_hub.cli.main import main

if __name__ == "__main__":
    main(prog_name="sublet")
