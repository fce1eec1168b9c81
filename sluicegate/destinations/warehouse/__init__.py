"""The warehouse schema: which rows an event becomes. Pure rules that all database destinations share."""
