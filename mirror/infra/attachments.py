"""Who a managed policy is attached to by hand: until that ends IAM deletes neither the policy nor who has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mirror.infra.aws import Refused, translated

if TYPE_CHECKING:
    from collections.abc import Collection

    from mirror.infra.aws import Client

_MISSING = "NoSuchEntity"


def detach(iam: Client, policy: str, only: Collection[str] | None = None) -> tuple[str, ...]:
    """Take a policy (its ARN) from everybody who has it, or from `only` those, and return the names of who had it.

    A policy that is gone has nobody. Raise `RemoteError` when IAM refuses.
    """
    try:
        with translated(policy, "iam:ListEntitiesForPolicy"):
            pages = list(iam.get_paginator("list_entities_for_policy").paginate(PolicyArn=policy))
    except Refused as error:
        if error.code == _MISSING:
            return ()
        raise

    def holders(kind: str) -> list[str]:
        names = (each[f"{kind}Name"] for page in pages for each in page.get(f"Policy{kind}s", ()))
        return [name for name in names if only is None or name in only]

    users, groups, roles = holders("User"), holders("Group"), holders("Role")
    for name in users:
        with translated(f"user {name}", "iam:DetachUserPolicy"):
            iam.detach_user_policy(UserName=name, PolicyArn=policy)
    for name in groups:
        with translated(f"group {name}", "iam:DetachGroupPolicy"):
            iam.detach_group_policy(GroupName=name, PolicyArn=policy)
    for name in roles:
        with translated(f"role {name}", "iam:DetachRolePolicy"):
            iam.detach_role_policy(RoleName=name, PolicyArn=policy)
    return (*users, *groups, *roles)
