#!/bin/sh
# Counts to COUNT under `etcdctl lock`, in an etcd in which things go wrong:
#
#     tenure serve --members 3 --faults default --seed 17 &
#     export ETCDCTL_API=3 ETCDCTL_ENDPOINTS=127.0.0.1:2379,127.0.0.1:2380,127.0.0.1:2381
#     sh counter.sh one 20 & sh counter.sh two 20 & wait
#     etcdctl get counter
#
# The lock alone does not keep the counter right: its holder can be stopped, or cut off, for longer than its lease lives, and then
# there are two. So each write is a transaction that compares the create revision of the holder's key, its fencing token. And an
# answer can be lost: each increment leaves a mark in the same transaction, and whoever was not answered looks for the mark first.
set -u

# The value of a field in etcdctl's `-w fields`.
field() { sed -n "s/^\"$1\" : \"\{0,1\}\([^\"]*\)\"\{0,1\}\$/\1/p"; }

# One increment, as the command of `etcdctl lock`, which says its key in ETCD_LOCK_KEY.
if [ -n "${ETCD_LOCK_KEY-}" ]; then
    mark=$1
    token=$(etcdctl get "$ETCD_LOCK_KEY" -w fields | field CreateRevision)
    [ -n "$token" ] || exit 1
    # Read after the grant, so nobody else can have written since, if the key is still there when this is committed.
    read=$(etcdctl get counter -w fields) || exit 1
    value=$(echo "$read" | field Value)
    etcdctl txn <<END | grep -q '^SUCCESS'
create("$ETCD_LOCK_KEY") = "$token"
create("$mark") = "0"

put counter $((${value:-0} + 1))
put $mark $token


END
    exit
fi

name=$1 count=$2
number=1
while [ "$number" -le "$count" ]; do
    mark=counter/done/$name/$number
    # Until the mark is there: an attempt that failed may have been applied all the same.
    if etcdctl get "$mark" -w fields 2>/dev/null | grep -q '^"Value"'; then
        number=$((number + 1))
    else
        timeout 20 etcdctl lock --ttl 3 counter-lock sh "$0" "$mark" >/dev/null 2>&1
    fi
done
