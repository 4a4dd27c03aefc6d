# Deleting captured data is asked for twice: by --purge, and by an answer.

if [[ $PURGE == yes && $YES == no ]]; then
  printf 'This deletes every captured candle of this deployment (live and demo); the backups are kept. Type yes to go on: '
  answer=''
  read -r answer || true
  [[ $answer == yes ]] || fail "Nothing has been changed."
fi
