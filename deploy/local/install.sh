# The environment of the local deployment: the locked dependencies, PostgreSQL among them, and our packages.

mkdir -p .local
make_environment .local/venv requirements-local.lock
install_packages .local/venv
