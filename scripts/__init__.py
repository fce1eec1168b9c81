"""Programs that a person runs."""

if __name__ != "sluicegate.scripts":
    raise ImportError("import sluicegate.scripts, not scripts")
