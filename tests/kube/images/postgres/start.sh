#!/bin/sh
# Makes a database system on the first start, and runs it. Whatever killed the last one, this one takes up its data.
set -eu
export PGDATA=/data/pg
if [ ! -e "$PGDATA/ready" ]; then
    rm -rf "$PGDATA"
    echo "$POSTGRES_PASSWORD" >/tmp/password
    initdb --username=postgres --pwfile=/tmp/password --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    touch "$PGDATA/ready"
fi
exec postgres -c listen_addresses='*' -c unix_socket_directories= -c shared_buffers=16MB -c max_connections=60
