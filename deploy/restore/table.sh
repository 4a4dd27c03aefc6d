# One table, while everything runs. Without --replace it goes beside the one in use.

if [[ $REPLACE == yes ]]; then
  ask_for "Every row of $TABLE is replaced by the backup's ($NAME); rows written since are lost."
  step "Restoring $TABLE from $NAME in its place"
  database_tool load.sh table "$NAME" "$TABLE" replace || fail "$TABLE has not been touched; the reason is above."
else
  step "Restoring $TABLE from $NAME as ${TABLE}_restored"
  database_tool load.sh table "$NAME" "$TABLE" || fail "Nothing has been changed; the reason is above."
fi
