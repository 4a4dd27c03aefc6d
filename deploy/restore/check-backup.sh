# The backup must be whole, of this exchange, of a schema this version knows, and of a server like this one.

# newest_migration: the last numbered file this version has.
newest_migration() { basename "$(printf '%s\n' timescaledb/migrations/*.sql | LC_ALL=C sort | tail -n 1)"; }

if [[ $NAME == latest ]]; then
  NAME=$(newest_backup)
  [[ -n $NAME ]] || fail "There is no backup of $EXCHANGE in $ENGINE mode in $FOLDER."
fi
BACKUP=$FOLDER/$NAME
[[ -s $BACKUP/manifest && -f $BACKUP/database.dump ]] ||
  fail "There is no backup $NAME in $FOLDER." "deploy/backup.sh --list shows the ones there are."
[[ $(manifest "$BACKUP" format) == 1 ]] || complain "$NAME is of a form this version does not read."
[[ $(manifest "$BACKUP" exchange) == "$EXCHANGE" ]] ||
  complain "$NAME is of a $(manifest "$BACKUP" exchange) deployment, and this one is $EXCHANGE: real and simulated candles never share a database."
if [[ $(manifest "$BACKUP" schema) > $(newest_migration) ]]; then
  complain "$NAME has the schema $(manifest "$BACKUP" schema), and this version ends at $(newest_migration): update the suite first."
fi
is_intact "$BACKUP" || complain "$NAME is damaged: its checksum is another one than when it was taken."
finish_checks
# Before anything is stopped: what the manifest tells of PostgreSQL and TimescaleDB.
database_tool load.sh check "$NAME" || fail "Nothing has been changed; the reason is above."
