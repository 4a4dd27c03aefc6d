# Room for images or the local installation, and for the history; a folder for the backups.

# needed_mib: images and base data, plus about 1 MiB a day and symbol (candles, features and their indexes).
needed_mib() {
  local symbols days base
  symbols=$(setting SYMBOLS | tr ',' '\n' | grep -c .)
  days=$(setting HISTORY_DAYS)
  base=1024
  [[ $ENGINE != docker ]] || base=4096
  echo $((base + symbols * days))
}

# free_mib PATH: free space where PATH is, or will be.
free_mib() {
  local path=$1
  while [[ ! -e $path ]]; do path=$(dirname "$path"); done
  df -Pk "$path" | awk 'NR == 2 { print int($4 / 1024) }'
}

check_disk() {
  local path=.local needed free
  if [[ $ENGINE == docker ]]; then
    path=$(docker info --format '{{.DockerRootDir}}' 2>/dev/null)
    # An engine in a virtual machine keeps its data where this machine has no such folder.
    [[ -d $path ]] || return 0
  fi
  needed=$(needed_mib)
  free=$(free_mib "$path")
  ((free >= needed)) || complain "$path has $free MiB free; this deployment needs about $needed MiB. Free some, or set fewer SYMBOLS or HISTORY_DAYS in .env."
}
# What is deployed already has its room.
[[ $OLD_ENGINE == "$ENGINE" && $OLD_EXCHANGE == "$EXCHANGE" ]] || check_disk

# check_backup_folder: whether it is there, or can be made, without making it.
check_backup_folder() {
  local folder path
  folder=$(setting BACKUP_DIR)
  path=$folder
  while [[ ! -e $path && ! -L $path ]]; do path=$(dirname "$path"); done
  if [[ ! -d $path ]]; then
    complain "BACKUP_DIR: $folder cannot be made: $path is not a folder. Set BACKUP_DIR in .env to another one."
  elif [[ ! -w $path || ! -x $path ]]; then
    complain "BACKUP_DIR: $folder cannot be used: this user cannot write to $path. Set BACKUP_DIR in .env to another one."
  fi
}
! bundled_database || check_backup_folder
