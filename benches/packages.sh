# Debian packages, installed when they are missing.

# need COMMAND:PACKAGE...: installs the Debian packages of the commands that are not there.
need() {
  local pair missing=()
  PATH=$PATH:/usr/sbin:/sbin
  for pair in "$@"; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
  done
  [[ ${#missing[@]} -eq 0 ]] || install_packages "${missing[@]}"
}

install_packages() {
  local as_root=(env DEBIAN_FRONTEND=noninteractive)
  command -v apt-get >/dev/null || { echo "this is not Debian; please install yourself: $*" >&2; return 1; }
  if [[ $EUID -ne 0 ]]; then
    sudo -n true 2>/dev/null || { echo "neither root nor password-less sudo to install: $*" >&2; return 1; }
    as_root=(sudo -n "${as_root[@]}")
  fi
  echo "Installing Debian packages: $*" >&2
  "${as_root[@]}" apt-get update -qq >&2
  "${as_root[@]}" apt-get install -y -qq --no-install-recommends "$@" >&2
}
