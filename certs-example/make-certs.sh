#!/bin/sh
# What `portsyncd certs make` does, with openssl: a CA, the switch's certificate and one client's, in a new folder.
#
#   sh make-certs.sh DIR [NAME ...]     NAMEs and addresses of the switch, beside ::1 and localhost
#
# CLIENT=prometheus names the client; DAYS and CA_DAYS say how long they are valid. Needs OpenSSL 3.0 or newer.
# Nothing that exists is written over, and if a step fails nothing is left.
set -eu

DAYS=${DAYS:-397}
CA_DAYS=${CA_DAYS:-1095}
CLIENT=${CLIENT:-client}

if [ $# -lt 1 ]; then
    echo "usage: sh $0 DIR [NAME ...]" >&2
    exit 64
fi
dir=$1
shift
if [ -e "$dir" ]; then
    echo "$0: $dir is there already; nothing was done" >&2
    exit 1
fi

case $CLIENT in
ca | server | */* | .*)
    echo "$0: CLIENT=$CLIENT: not a name for a client's files" >&2
    exit 64
    ;;
esac

# Keys are never readable by others, not even for a moment.
umask 077

sans=IP:::1,DNS:localhost
for name in "$@"; do
    case $name in
    *:*) sans=$sans,IP:$name ;;
    *[!0-9.]*) sans=$sans,DNS:$name ;;
    *) sans=$sans,IP:$name ;;
    esac
done

case $dir in
/*) ;;
*) dir=$PWD/$dir ;;
esac
new=$(mktemp -d "$(dirname "$dir")/.make-certs.XXXXXX")
trap 'rm -rf "$new"' EXIT
trap 'exit 1' HUP INT TERM
cd "$new"

key() {
    openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out "$1"
}

# The CA: it signs servers and clients, and no further CA.
key ca.key
openssl req -new -x509 -config /dev/null -sha384 -days "$CA_DAYS" -key ca.key -out ca.crt \
    -subj /CN=portsyncd-metrics-ca \
    -addext basicConstraints=critical,CA:TRUE,pathlen:0 \
    -addext keyUsage=critical,keyCertSign,cRLSign \
    -addext subjectKeyIdentifier=hash \
    -addext authorityKeyIdentifier=keyid

# issue NAME COMMON_NAME EXTENDED_KEY_USAGE SANS
issue() {
    key "$1.key"
    openssl req -new -config /dev/null -sha384 -key "$1.key" -subj "/CN=$2" -out "$1.csr"
    cat >"$1.ext" <<EXTENSIONS
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = $3
subjectAltName = $4
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
EXTENSIONS
    serial=$(openssl rand -hex 15)
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -set_serial "0x01$serial" \
        -sha384 -days "$DAYS" -extfile "$1.ext" -out "$1.crt"
    rm "$1.csr" "$1.ext"
}

issue server portsyncd-metrics serverAuth "$sans"
issue "$CLIENT" "$CLIENT" clientAuth "DNS:$CLIENT"

openssl verify -x509_strict -purpose sslserver -CAfile ca.crt server.crt
openssl verify -x509_strict -purpose sslclient -CAfile ca.crt "$CLIENT.crt"

chmod 644 ./*.crt
chmod 755 .
mv "$new" "$dir"
trap - EXIT
ls -l "$dir"
