"""Facts of a unit that is being edited: only what an edit reaches is read again."""
