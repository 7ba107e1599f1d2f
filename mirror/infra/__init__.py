"""Infrastructure: the CloudFormation stack that a published mirror stands on, and who may write to it."""
