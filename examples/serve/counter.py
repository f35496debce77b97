"""Counts under the same lock as counter.sh, by etcd's recipe, with a client in Python: pip install aetcd

    tenure serve --members 3 --faults default --seed 17 &
    export ETCDCTL_ENDPOINTS=127.0.0.1:2379,127.0.0.1:2380,127.0.0.1:2381
    python3 counter.py NAME COUNT

What makes the counter right is the transaction in `increment`, not the lock: it commits only while the holder's key has the create revision
that it had when the lock was granted. Where an answer is lost, the increment's mark says whether it was applied.
"""

import asyncio
import os
import sys

import aetcd

LOCK, TTL_S, PATIENCE_S = b"counter-lock/", 3, 1


class LeaseLost(Exception):
    """The lease has run out: this attempt is over."""


class Etcd:
    """All members, one after another: aetcd knows one endpoint."""

    def __init__(self, endpoints):
        self.members = []
        for endpoint in endpoints:
            host, port = endpoint.removeprefix("http://").rsplit(":", 1)
            self.members.append(aetcd.Client(host, int(port), timeout=PATIENCE_S))

    async def ask(self, call):
        """Repeats a call that may be repeated, at the next member each time, until it is answered."""
        while True:
            try:
                return await call(self.members[0])
            except Exception as error:  # aetcd gives gRPC's errors through, and some of its own
                if "lease not found" in str(error):
                    raise LeaseLost from error
                print(f"{type(error).__name__}; the next member", file=sys.stderr)
                self.members.append(self.members.pop(0))
                await asyncio.sleep(0.05)


async def lock(etcd):
    """Gets in line and waits until its key is the oldest. Gives the key, its create revision, and the task that renews its lease."""
    lease = await etcd.ask(lambda member: member.lease(TTL_S))
    key = LOCK + f"{lease.id:x}".encode()

    async def join(member):
        tx = member.transactions
        await member.transaction([tx.create(key) == 0], [tx.put(key, b"", lease=lease.id)], [])

    async def renew():
        while True:
            await etcd.ask(lambda member: member.refresh_lease(lease.id))
            await asyncio.sleep(TTL_S / 3)

    renewing = asyncio.create_task(renew())
    await etcd.ask(join)
    while True:
        line = list(await etcd.ask(lambda member: member.get_prefix(LOCK, sort_order="ascend", sort_target="create")))
        mine = next((kv.create_revision for kv in line if kv.key == key), None)
        if mine is None or line[0].key == key:
            # None: the lease has run out. The transaction will tell: no key has the create revision -1.
            return key, -1 if mine is None else mine, lease.id, renewing
        await asyncio.sleep(0.05)


async def unlock(etcd, lease, renewing):
    renewing.cancel()
    try:
        await etcd.members[0].revoke_lease(lease)
    except Exception:
        pass  # It runs out.


async def increment(etcd, mark):
    """Adds one, once, if the lock is still held when that is committed."""
    key, token, lease, renewing = await lock(etcd)
    found = await etcd.ask(lambda member: member.get(b"counter"))
    value = int(found.value) if found else 0

    async def commit(member):
        tx = member.transactions
        still = [tx.create(key) == token, tx.create(mark) == 0]
        puts = [tx.put(b"counter", str(value + 1).encode()), tx.put(mark, str(token).encode())]
        await member.transaction(still, puts, [])

    await etcd.ask(commit)
    await unlock(etcd, lease, renewing)


async def main(name, count):
    etcd = Etcd(os.environ.get("ETCDCTL_ENDPOINTS", "127.0.0.1:2379").split(","))
    for number in range(1, count + 1):
        mark = f"counter/done/{name}/{number}".encode()
        while not await etcd.ask(lambda member: member.get(mark)):
            try:
                await increment(etcd, mark)
            except LeaseLost:
                pass
    for member in etcd.members:
        await member.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
