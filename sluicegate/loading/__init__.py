"""The loading table: the rules by which destinations start, fail, rest and stop."""
