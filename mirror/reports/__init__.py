"""What a verification found, in the forms that CI and people read: pure functions from a report to bytes."""
