"""Actor classes: everything that receives messages."""

if __name__ != "sluicegate.actors":
    raise ImportError("import sluicegate.actors, not actors")
