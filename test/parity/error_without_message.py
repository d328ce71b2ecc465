"""An exception without a text."""

raise LookupError
