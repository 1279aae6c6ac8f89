"""The language server: what lockcheck knows, in an editor, while the file is being written."""
