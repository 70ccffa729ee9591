"""`python -m accrete.cli` is the `accrete` command."""

from accrete.cli.main import main

if __name__ == "__main__":
    main()
