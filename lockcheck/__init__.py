"""lockcheck: a whole-program checker of lock assertions in Linux kernel C."""

__version__ = "0.1.0"
