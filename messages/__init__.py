"""Messages: everything that is sent to or by an actor."""

if __name__ != "sluicegate.messages":
    raise ImportError("import sluicegate.messages, not messages")
