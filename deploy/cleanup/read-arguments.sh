# The command line: whether data goes too, and whether to ask.

PURGE=no YES=no
for argument in "$@"; do
  case $argument in
    --purge) PURGE=yes ;;
    --yes | -y) YES=yes ;;
    *)
      printf '%s\n' 'usage: ./cleanup.sh [--purge [--yes]]' \
        '  Stops the deployment and keeps its data. --purge deletes the data of every mode, --yes without asking.' \
        '  .env and the backups stay in any case, and so does a database of your own (DB_HOST).'
      [[ $argument == --help || $argument == -h ]] && exit 0
      fail "unknown option $argument"
      ;;
  esac
done
