"""Contract suites and doubles, for our own tests and for those of plugin authors."""
